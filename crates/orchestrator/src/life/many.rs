//! The same asked of many instances, found by a filter.

use serde::Serialize;
use trunkline_model::Failure;

use super::{Preview, Verb};
use crate::Error;
use crate::engine::Engine;
use crate::entry::InstanceId;
use crate::views::{self, InstanceFilter, InstanceRow};

/// The most instances that are asked at once.
pub const MAX_MANY: usize = 1000;

/// What is asked of every instance that a filter finds.
#[derive(Clone, Debug)]
pub struct Many {
    /// What.
    pub verb: Verb,
    /// Of which.
    pub filter: InstanceFilter,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Who asks.
    pub by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The step to retry from.
    pub from: Option<String>,
}

/// What came of it, or would, for one instance.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// The instance.
    pub instance: InstanceId,
    /// What it is an instance of.
    pub flow: String,
    /// How it was before.
    pub status: String,
    /// For whom it runs or ran.
    pub principal: String,
    /// When it was started, in milliseconds since 1970.
    pub started_ms: i64,
    /// What would be done, in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would: Option<Preview>,
    /// It was done.
    pub done: bool,
    /// The instance that was begun in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried_as: Option<InstanceId>,
    /// Why it was or would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// Why an instance refuses.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// The code.
    pub code: &'static str,
    /// In words.
    pub detail: String,
    /// What to do.
    pub next: String,
}

impl Verb {
    /// The statuses of instances that it can be asked of.
    fn statuses(self) -> &'static str {
        match self {
            Self::Cancel => "running,waiting,queued,compensating,stuck",
            Self::Undo => "completed",
            Self::Retry => "faulted,cancelled,undone",
        }
    }
}

impl Engine {
    /// Asks the same of many instances. Without a status in the filter, of those that it can be asked of.
    ///
    /// # Errors
    /// Where the log can't be read. What one instance refuses is told of it.
    pub async fn ask_many(&self, many: Many) -> Result<Vec<Asked>, Error> {
        let mut filter = many.filter.clone();
        filter.status.get_or_insert_with(|| many.verb.statuses().to_owned());
        filter.limit = filter.limit.clamp(1, MAX_MANY);
        self.log().projected(views::NAME, self.log().head()).await?;
        let rows = views::instances(self.log(), filter).await?;
        let mut asked = Vec::with_capacity(rows.len());
        for row in rows {
            asked.push(self.ask_one(&many, row).await);
        }
        Ok(asked)
    }

    async fn ask_one(&self, many: &Many, row: InstanceRow) -> Asked {
        let id = row.id;
        let mut asked = Asked {
            instance: id,
            flow: row.flow,
            status: row.status,
            principal: row.principal,
            started_ms: row.started_ms,
            would: None,
            done: false,
            retried_as: None,
            refused: None,
        };
        let from = many.from.as_deref();
        let done = if many.dry_run {
            self.preview(id, many.verb, from).await.map(|would| asked.would = Some(would))
        } else {
            let reason = many.reason.as_deref();
            let done = match many.verb {
                Verb::Cancel => self.cancel(id, &many.by, reason).await,
                Verb::Undo => self.undo(id, &many.by, reason).await.map(drop),
                Verb::Retry => {
                    let new = self.retry(id, from, &many.by).await;
                    new.map(|new| asked.retried_as = Some(new.id))
                }
            };
            asked.done = done.is_ok();
            done
        };
        if let Err(error) = done {
            let Failure { code, detail, next, .. } = error.into();
            asked.refused = Some(Refused { code, detail, next });
        }
        asked
    }
}
