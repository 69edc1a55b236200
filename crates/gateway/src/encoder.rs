//! A stronger encoder for the search: tools get their vectors beside everything else, requests when they come.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use trunkline_discovery::embed::MiniLm;

use crate::Gateway;

/// How many tools are encoded at a time.
const BATCH: usize = 16;

/// How often it is looked for tools that have come.
const LOOK: Duration = Duration::from_millis(500);

impl Gateway {
    /// Searches by this encoder too, from now on, and gives tools their vectors, one after another, until the gateway closes. A tool
    /// that has none yet is found without it.
    pub async fn search_by(self: Arc<Self>, encoder: MiniLm) {
        self.catalog.encode_with(Box::new(move |text| Some(apart(|| encoder.encode(text)))));
        let closing = self.closing().clone();
        while !closing.is_cancelled() {
            let gateway = self.clone();
            let looked_at = tokio::task::spawn_blocking(move || gateway.catalog.encode(BATCH)).await;
            if looked_at.is_ok_and(|count| count == 0) {
                closing.run_until_cancelled(tokio::time::sleep(LOOK)).await;
            }
        }
    }
}

/// Does what takes milliseconds without keeping others from the thread, where that can be.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    let many =
        Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if many { tokio::task::block_in_place(work) } else { work() }
}
