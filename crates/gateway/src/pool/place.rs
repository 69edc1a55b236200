//! What an instance gave out and will be asked about again (a task, the state of a question) with the instance's address, so
//! that it comes back to it.

use std::sync::Arc;

use trunkline_model::{Call, Failure, InputRequired, Outcome, Resume, Task};

use super::{Members, Shared};
use crate::error::Error;

/// What such text begins with.
const MARK: &str = "trunkline.instance:";

/// Writes the instance's address before what it gave out.
fn write(instance: &str, own: Option<&str>) -> String {
    let rest = own.map(|own| format!("+{own}")).unwrap_or_default();
    format!("{MARK}{}:{instance}{rest}", instance.len())
}

/// The instance's address and what it gave out; none where the text is not ours.
fn read(text: &str) -> Option<(&str, Option<&str>)> {
    let (length, rest) = text.strip_prefix(MARK)?.split_once(':')?;
    let (instance, rest) = rest.split_at_checked(length.parse().ok()?)?;
    match rest {
        "" => Some((instance, None)),
        rest => Some((instance, Some(rest.strip_prefix('+')?))),
    }
}

impl Shared {
    /// The instance that has given out something, and what it was to it.
    pub(super) fn keeper<'a>(
        &self,
        members: &Members,
        placed: &'a str,
    ) -> Result<(usize, Option<&'a str>), Failure> {
        let gone = || Error::InstanceGone { service: self.id.to_string() };
        let (url, own) = read(placed).ok_or_else(gone)?;
        let index = members.endpoints.iter().position(|endpoint| endpoint.instance().url == url);
        Ok((index.ok_or_else(gone)?, own))
    }

    /// Where a call goes on that an instance has asked something about, and the call as it knows it.
    pub(super) fn resumed(&self, members: &Members, call: &Call) -> Result<Option<(usize, Call)>, Failure> {
        let Some(resume) = &call.resume else { return Ok(None) };
        let Some(state) = resume.state.as_deref().filter(|state| read(state).is_some()) else {
            return Ok(None);
        };
        let (index, own) = self.keeper(members, state)?;
        let resume = Resume { responses: resume.responses.clone(), state: own.map(str::to_owned) };
        Ok(Some((index, Call { resume: Some(resume), ..call.clone() })))
    }
}

/// The outcome with the instance's address in what the caller will come back with.
pub(super) fn placed(url: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Complete(result) => Outcome::Complete(result),
        Outcome::InputRequired(InputRequired { requests, state }) => {
            let state = Some(write(url, state.as_deref()));
            Outcome::InputRequired(InputRequired { requests, state })
        }
        Outcome::Task(task) => {
            let id = Arc::from(write(url, Some(&task.id)));
            Outcome::Task(Box::new(Task { id, ..*task }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        for instance in ["a", "", "127.0.0.1:80", "+:ü"] {
            for own in [None, Some(""), Some("x:+y")] {
                assert_eq!(read(&write(instance, own)), Some((instance, own)));
            }
        }
        for text in [
            "",
            "x",
            "trunkline.instance:",
            "trunkline.instance:9:a",
            "trunkline.instance:1:ax",
            "trunkline.instance:1:ü",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
