//! The test kit of the Open Workflow Specification, and scenarios of our own in its words, against the engine on a real
//! event log with the endpoints of the binary.
//!
//! The hosts that the kit asks (petstore.swagger.io, httpbin.org) are stood in for by a server of this test: their names
//! are replaced in every document.

mod steps;
mod stub;
mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gherkin::{Feature, GherkinEnv};

use world::World;

/// How many scenarios the kit has, as of version 1.0.3.
const KIT: usize = 21;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_test_kit_of_the_specification_passes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let places = [root.join("../shared"), PathBuf::from("/work/shared")];
    let folder = places.iter().map(|shared| shared.join("data/open-workflow/ctk/features")).find(|f| f.is_dir());
    let Some(folder) = folder else {
        assert!(std::env::var_os("CI").is_none(), "../shared/data/open-workflow/ctk is missing");
        println!("skipped: ../shared/data/open-workflow/ctk is not there");
        return;
    };
    let (passed, failures) = run(&folder).await;
    println!("ctk: {passed}/{KIT}");
    assert!(failures.is_empty(), "{failures}");
    assert_eq!(passed, KIT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_scenarios_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../orchestrator/ctk");
    let (passed, failures) = run(&folder).await;
    let all = passed + failures.lines().filter(|line| line.starts_with("FAILED")).count();
    println!("own: {passed}/{all}");
    assert!(failures.is_empty(), "{failures}");
    assert!(passed > 0);
}

/// Runs every scenario of a folder. Gives how many passed, and what is to say of the others.
async fn run(folder: &Path) -> (usize, String) {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "feature"));
    files.sort();
    let (mut passed, mut failures) = (0, String::new());
    for file in files {
        let feature = Feature::parse_path(&file, GherkinEnv::default()).unwrap();
        for scenario in &feature.scenarios {
            let mut world = World::new().await;
            match steps::all(&mut world, &scenario.steps).await {
                Ok(()) => passed += 1,
                Err(why) => {
                    let name = format!("{}: {}", feature.name, scenario.name);
                    let journal = world.shown_journal().await;
                    writeln!(failures, "FAILED {name}\n  {why}\n{journal}").unwrap();
                }
            }
            world.close();
        }
    }
    (passed, failures)
}
