//! The data directory.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use trunkline_gateway::Sealer;

/// The most `trunkline stdio` processes that keep their record in one data directory.
const MAX_STDIO: usize = 64;

/// The sealer with this installation's key, which is made once. Only the owner can read it.
pub(super) fn sealer(folder: &Path) -> anyhow::Result<Sealer> {
    let path = folder.join("seal.key");
    let key: [u8; 32] = match fs::read(&path) {
        Ok(bytes) => bytes
            .try_into()
            .map_err(|_| anyhow::anyhow!("{} is not a key of 32 bytes; remove it", path.display()))?,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut key = [0; 32];
            let (a, b) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
            let (c, d) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
            // A UUIDv4 has six fixed bits: four of them are hashed to 32 bytes.
            let material = [a, b, c, d].map(uuid::Uuid::into_bytes).concat();
            key.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, &material).as_ref());
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(&key)?;
            file.sync_all()?;
            key
        }
        Err(error) => return Err(error).with_context(|| format!("{} can't be read", path.display())),
    };
    Sealer::new(&key).context("the sealing key can't be used")
}

/// Builds something with a folder of its own below `data`: several clients may each start a `trunkline stdio`, also
/// beside a running `trunkline up`, and a record has one writer.
pub(super) async fn with_own_folder<T>(
    data: &Path,
    build: impl AsyncFn(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut last = None;
    for number in 1..=MAX_STDIO {
        match build(&data.join(format!("stdio-{number}"))).await {
            Err(error) if is_locked(&error) => last = Some(error),
            built => return built,
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no folder is free")))
}

fn is_locked(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<trunkline_event_log::Error>(),
        Some(trunkline_event_log::Error::Locked { .. })
    )
}
