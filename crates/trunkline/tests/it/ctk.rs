//! The test kit of the Open Workflow Specification, and scenarios of our own in its words, against the engine on a real
//! event log with the endpoints of the binary.
//!
//! The hosts that the kit asks (petstore.swagger.io, httpbin.org) are stood in for by a server of this test: their names
//! are replaced in every document.

mod replay;
mod steps;
mod stub;
mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gherkin::{Feature, GherkinEnv, Step};

use world::World;

/// How many scenarios the kit has, as of version 1.0.3.
const KIT: usize = 21;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_kit_of_the_specification_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [root.join("../shared"), PathBuf::from("/work/shared")];
    let folder =
        places.iter().map(|shared| shared.join("data/open-workflow/ctk/features")).find(|f| f.is_dir());
    let Some(folder) = folder else {
        assert!(std::env::var_os("CI").is_none(), "../shared/data/open-workflow/ctk is missing");
        println!("skipped: ../shared/data/open-workflow/ctk is not there");
        return;
    };
    let score = run(&folder).await;
    println!("ctk: {}/{KIT}", score.passed);
    println!("ctk, resumed: {} times", score.resumed);
    assert!(score.failures.is_empty(), "{}", score.failures);
    assert_eq!(score.passed, KIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_scenarios_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orchestrator/ctk");
    let score = run(&folder).await;
    println!("own: {}/{}", score.passed, score.all);
    println!("own, resumed: {} times", score.resumed);
    assert!(score.failures.is_empty(), "{}", score.failures);
    assert!(score.passed > 0);
}

/// What came of scenarios.
#[derive(Default)]
struct Score {
    passed: usize,
    all: usize,
    /// How often runs were brought back from the beginning of a journal.
    resumed: usize,
    failures: String,
}

/// Runs every scenario of a folder.
async fn run(folder: &Path) -> Score {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "feature"));
    files.sort();
    let mut score = Score::default();
    for file in files {
        let feature = Feature::parse_path(&file, GherkinEnv::default()).unwrap();
        for scenario in &feature.scenarios {
            let mut world = World::new().await;
            score.all += 1;
            match play(&mut world, &scenario.steps).await {
                Ok(resumed) => {
                    score.passed += 1;
                    score.resumed += resumed;
                }
                Err(why) => {
                    let name = format!("{}: {}", feature.name, scenario.name);
                    let journal = world.shown_journal().await;
                    writeln!(score.failures, "FAILED {name}\n  {why}\n{journal}").unwrap();
                }
            }
            world.close();
        }
    }
    score
}

/// Plays a scenario, and then brings its run back from everywhere, where it depends on nothing but its journal.
async fn play(world: &mut World, steps: &[Step]) -> Result<usize, String> {
    steps::all(world, steps).await?;
    // What counts calls, or hears events that stand in another stream, would see them anew.
    let moving = |text: &str| text.contains("/flaky/") || text.contains("listen:");
    let alone = steps.iter().any(|step| step.value == "the workflow is executed")
        && !steps.iter().any(|step| step.docstring.as_deref().is_some_and(moving));
    if alone { replay::from_everywhere(world).await } else { Ok(0) }
}
