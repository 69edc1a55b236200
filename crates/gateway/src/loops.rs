//! Models that go round in circles: the same call again and again, with the same answer.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::Instant;

use trunkline_model::{CallContext, Failure, Json, Outcome, Principal};
use trunkline_resilience::repetition::{LoopsConfig, Repetitions};

use crate::Error;
use crate::cache::canonical;

/// The largest arguments that are kept to be compared, in bytes. Of larger ones the text has to be the same.
const MAX_KEPT: usize = 4 << 10;

/// Who calls: the principal, and its conversation.
type Who = (Arc<Principal>, Option<Arc<str>>);

/// Finds loops.
pub(crate) struct Loops {
    repetitions: Repetitions<Who, Made>,
    hasher: RandomState,
}

/// The last call of somebody.
struct Made {
    /// `service/tool`.
    label: Arc<str>,
    arguments: Arguments,
}

enum Arguments {
    Kept(Json),
    Hashed(u64),
}

/// A call that is counted.
pub(crate) struct Counted {
    who: Who,
    times: u32,
}

impl Loops {
    pub(crate) fn new(config: LoopsConfig) -> Self {
        Self { repetitions: Repetitions::new(config), hasher: RandomState::new() }
    }

    pub(crate) fn config(&self) -> &LoopsConfig {
        self.repetitions.config()
    }

    /// Counts a call.
    ///
    /// # Errors
    /// [`Error::Loop`] where it has been made too often on end.
    pub(crate) fn begins(
        &self,
        context: &CallContext,
        label: &Arc<str>,
        arguments: &Json,
    ) -> Result<Option<Counted>, Error> {
        let config = self.config();
        if config.calls == 0 || (context.conversation.is_none() && !config.without_conversation) {
            return Ok(None);
        }
        let who = (context.principal.clone(), context.conversation.clone());
        let same = |made: &Made| made.label == *label && self.equal(&made.arguments, arguments);
        let made = || Made { label: label.clone(), arguments: self.kept(arguments) };
        match self.repetitions.begins(&who, Instant::now(), same, made) {
            Ok(times) => Ok(Some(Counted { who, times })),
            Err(looping) => {
                let (target, times) = (label.to_string(), looping.times);
                Err(Error::Loop { target, times, pause: looping.pause })
            }
        }
    }

    /// Takes the answer into account. One that was kept is the one before.
    pub(crate) fn answered(&self, counted: &Counted, outcome: &Result<Outcome, Failure>) {
        let kept = |outcome: &Outcome| match outcome {
            Outcome::Complete(result) => result.freshness.as_ref().is_some_and(|said| said.served.is_some()),
            Outcome::InputRequired(_) | Outcome::Task(_) => false,
        };
        if outcome.as_ref().is_ok_and(kept) {
            return;
        }
        self.repetitions.answered(&counted.who, counted.times, || {
            let mut hasher = self.hasher.build_hasher();
            match outcome {
                Ok(Outcome::Complete(result)) => result.body.as_bytes().hash(&mut hasher),
                Ok(Outcome::InputRequired(asked)) => asked.requests.as_bytes().hash(&mut hasher),
                // A task is a new one each time: it is as if it were the same.
                Ok(Outcome::Task(_)) => {}
                // The words of a failure tell of times.
                Err(failure) => failure.code.hash(&mut hasher),
            }
            hasher.finish()
        });
    }

    fn kept(&self, arguments: &Json) -> Arguments {
        if arguments.len() > MAX_KEPT {
            return Arguments::Hashed(self.hasher.hash_one(arguments.as_bytes()));
        }
        // Of its own: what came is a part of a whole request.
        Arguments::Kept(Json::joined(arguments.as_bytes().to_vec()))
    }

    fn equal(&self, before: &Arguments, now: &Json) -> bool {
        match before {
            Arguments::Hashed(hash) => *hash == self.hasher.hash_one(now.as_bytes()),
            Arguments::Kept(before) => {
                let forms = || Some(canonical(before)? == canonical(now)?);
                before == now || forms().unwrap_or(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::ToolResult;

    use super::*;

    fn made(loops: &Loops, arguments: &str, answer: &str) -> Result<(), Error> {
        let principal = Arc::new(Principal::local());
        let context = CallContext {
            conversation: Some("c".into()),
            ..CallContext::unattended(principal, Instant::now())
        };
        let arguments = Json::parse(arguments.to_owned()).unwrap();
        let counted = loops.begins(&context, &"s/t".into(), &arguments)?.unwrap();
        let answer = Json::parse(answer.to_owned()).unwrap();
        loops.answered(&counted, &Ok(ToolResult::raw(answer, false).into()));
        Ok(())
    }

    #[test]
    fn equal_is_what_says_the_same() {
        let loops = Loops::new(LoopsConfig { calls: 3, ..LoopsConfig::default() });
        for arguments in [r#"{"a":1,"b":[]}"#, r#"{ "b": [], "a": 1.0 }"#, r#"{"a":1,"b":[]}"#] {
            made(&loops, arguments, "{}").unwrap();
        }
        let error = made(&loops, r#"{"b":[],"a":1}"#, "{}").unwrap_err();
        assert!(matches!(error, Error::Loop { times: 3, .. }));
        made(&loops, r#"{"b":[],"a":2}"#, "{}").unwrap();
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_KEPT));
        for _ in 0..3 {
            made(&loops, &large, "{}").unwrap();
        }
        assert!(made(&loops, &large, "{}").is_err());
    }

    #[test]
    fn who_waits_for_something_to_change_is_let_be() {
        let loops = Loops::new(LoopsConfig { calls: 3, ..LoopsConfig::default() });
        for answer in 0..20 {
            made(&loops, "{}", &answer.to_string()).unwrap();
        }
    }
}
