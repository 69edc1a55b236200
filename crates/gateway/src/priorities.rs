//! How much calls matter: as the operator says by principal and tool, or as callers ask for who may.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{Glob, Principal, ServiceId};
use trunkline_resilience::shed::{Class, Priority};

/// How much calls matter where not all can be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrioritiesConfig {
    /// The first that fits a call decides. A call that none fits is `normal`.
    pub rules: Vec<PriorityRule>,
    /// Principals that may ask for a higher priority than they have, with `*` for any part. Everybody may ask for a lower
    /// one.
    pub may_raise: Vec<String>,
}

/// How much some calls matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriorityRule {
    /// Principals that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any")]
    pub principal: String,
    /// Services that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any")]
    pub service: String,
    /// The services' own names of tools that it holds for, with `*` for any part. All where left out.
    #[serde(default = "any")]
    pub tool: String,
    /// How much they matter.
    pub class: Class,
}

fn any() -> String {
    "*".to_owned()
}

/// The priorities in force.
#[derive(Default)]
pub(crate) struct Priorities {
    rules: Vec<(Glob, Glob, Glob, Class)>,
    may_raise: Vec<Glob>,
}

impl Priorities {
    pub(crate) fn new(config: &PrioritiesConfig) -> Self {
        let glob = |pattern: &String| Glob::new(pattern);
        let rule =
            |rule: &PriorityRule| (glob(&rule.principal), glob(&rule.service), glob(&rule.tool), rule.class);
        Self {
            rules: config.rules.iter().map(rule).collect(),
            may_raise: config.may_raise.iter().map(glob).collect(),
        }
    }

    /// The priority of a call. `running` is how long the process has run.
    pub(crate) fn of(
        &self,
        principal: &Principal,
        service: &ServiceId,
        own: &str,
        asked: Option<Class>,
        running: Duration,
    ) -> Priority {
        let fits = |(who, at, tool, class): &(Glob, Glob, Glob, Class)| {
            let fits = who.matches(&principal.id) && at.matches(service.as_str()) && tool.matches(own);
            fits.then_some(*class)
        };
        let given = self.rules.iter().find_map(fits).unwrap_or_default();
        let may =
            |class: Class| class <= given || self.may_raise.iter().any(|who| who.matches(&principal.id));
        let class = asked.filter(|class| may(*class)).unwrap_or(given);
        Priority::new(class, &principal.id, running)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everybody_may_ask_for_less_and_some_for_more() {
        let config = json!({
            "rules": [
                {"tool": "page_*", "class": "critical"},
                {"principal": "batch-*", "class": "low"},
            ],
            "may_raise": ["ops"],
        });
        let priorities = Priorities::new(&serde_json::from_value(config).unwrap());
        for (who, tool, asked, class) in [
            ("ada", "read", None, Class::Normal),
            ("ada", "page_me", None, Class::Critical),
            ("batch-1", "read", None, Class::Low),
            ("batch-1", "read", Some(Class::High), Class::Low),
            ("batch-1", "read", Some(Class::Background), Class::Background),
            ("ops", "read", Some(Class::Critical), Class::Critical),
        ] {
            let principal = Principal::api_key(who);
            let found = priorities.of(&principal, &ServiceId::new("s"), tool, asked, Duration::ZERO);
            assert_eq!(found.class(), class, "{who} {tool} {asked:?}");
        }
    }
}
