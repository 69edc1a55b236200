//! Watches a configuration for changes and loads it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use super::finding::Finding;
use super::load::{Flags, Loaded, load};

/// How long a change has to rest before it is read: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(150);

/// How often files are looked at without being told of a change. It finds what the operating system does not tell:
/// network file systems, and a folder that is replaced as a whole.
const POLL: Duration = Duration::from_secs(2);

/// How often a file may be found missing before that is reported: editors remove and write anew.
const MISSING: u32 = 3;

/// Reads an environment variable.
pub type Env = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Watches a configuration. Ends with its owner; nothing runs between calls of [`next`](Self::next).
pub struct Watcher {
    path: PathBuf,
    env: Env,
    flags: Flags,
    told: Arc<Notify>,
    /// Holds the operating system's watches; `None` where it gives none, and looking from time to time must do.
    system: Option<RecommendedWatcher>,
    sources: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    missing: u32,
}

/// What tells one version of a file from another: the file behind all links, its time and size.
#[derive(Clone, PartialEq, Eq)]
struct Stamp {
    real: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

impl Watcher {
    /// Watches the files that `loaded` was read from; `None` where there is no file.
    #[must_use]
    pub fn new(loaded: &Loaded, env: Env, flags: Flags) -> Option<Self> {
        let path = loaded.file.clone()?;
        let told = Arc::new(Notify::new());
        let tell = Arc::clone(&told);
        let system = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                tell.notify_one();
            }
        });
        let mut watcher = Self {
            path,
            env,
            flags,
            told,
            system: system.ok(),
            sources: Vec::new(),
            seen: Vec::new(),
            missing: 0,
        };
        watcher.follow(&loaded.sources);
        Some(watcher)
    }

    /// Waits for the next version of the configuration. May be dropped and called again.
    ///
    /// # Errors
    /// What is wrong with the new version. The one in force stays so; the next change is waited for as before.
    pub async fn next(&mut self) -> Result<Loaded, Vec<Finding>> {
        loop {
            let _ = tokio::time::timeout(POLL, self.told.notified()).await;
            let now = stamps(&self.sources);
            if now == self.seen {
                self.missing = 0;
                continue;
            }
            tokio::time::sleep(SETTLE).await;
            let settled = stamps(&self.sources);
            if settled != now {
                self.told.notify_one();
                continue;
            }
            if settled.iter().any(Option::is_none) && self.missing < MISSING {
                self.missing += 1;
                continue;
            }
            self.missing = 0;
            self.seen = settled;
            let loaded = load(&self.path, &*self.env, &self.flags);
            if let Ok(loaded) = &loaded {
                self.follow(&loaded.sources);
            }
            return loaded;
        }
    }

    /// Watches the folders of these files: a watch on a file ends when an editor replaces it.
    fn follow(&mut self, sources: &[PathBuf]) {
        if self.sources != sources {
            if let Some(system) = &mut self.system {
                let folder = |file: &PathBuf| {
                    file.parent()
                        .filter(|dir| !dir.as_os_str().is_empty())
                        .unwrap_or(Path::new("."))
                        .to_owned()
                };
                for old in self.sources.iter().map(folder) {
                    let _ = system.unwatch(&old);
                }
                for new in sources.iter().map(folder) {
                    // A folder that can't be watched is looked at from time to time.
                    let _ = system.watch(&new, RecursiveMode::NonRecursive);
                }
            }
            self.sources = sources.to_vec();
            self.seen = stamps(&self.sources);
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let real = file.canonicalize().ok()?;
        let metadata = real.metadata().ok()?;
        Some(Stamp { real, modified: metadata.modified().ok(), length: metadata.len() })
    };
    files.iter().map(stamp).collect()
}
