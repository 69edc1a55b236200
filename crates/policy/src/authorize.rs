//! What they may do: allow and deny rules over patterns, the first that fits decides.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{Operation, Principal, ServiceId};

use crate::{Error, Glob};

/// What principals may do. The first rule that fits decides; where none fits, the default does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What holds where no rule fits.
    pub default: Effect,
    /// The rules, in order.
    pub rules: Vec<Rule>,
}

/// Whether something may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It may.
    #[default]
    Allow,
    /// It may not.
    Deny,
}

/// A rule. In patterns `*` stands for any text; a member that is left out fits everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A name for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the rule decides.
    pub effect: Effect,
    /// A pattern of service names.
    #[serde(default = "anything")]
    pub service: String,
    /// A pattern of the service's own names of its tools, not of advertised ones. For prompts it is tried on the
    /// prompt's name, for resources on the URI.
    #[serde(default = "anything")]
    pub tool: String,
    /// A pattern of principals: the ids of API keys, or `local`.
    #[serde(default = "anything")]
    pub principal: String,
    /// The one operation that the rule is about; all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

fn anything() -> String {
    "*".to_owned()
}

/// What was decided, and by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it may be done.
    pub allow: bool,
    /// The index of the rule that decided, from 0; `None` for the default.
    pub rule: Option<usize>,
}

struct Compiled {
    allow: bool,
    service: Glob,
    tool: Glob,
    principal: Glob,
    operation: Option<Operation>,
    name: Option<Box<str>>,
}

/// Decides by the configured rules. A decision depends on nothing but its arguments, so it may be kept for as long
/// as the authorizer is.
pub struct Authorizer {
    rules: Vec<Compiled>,
    default: bool,
}

impl Authorizer {
    /// Compiles the rules.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let rules = config.rules.iter().map(|rule| Compiled {
            allow: rule.effect == Effect::Allow,
            service: Glob::new(&rule.service),
            tool: Glob::new(&rule.tool),
            principal: Glob::new(&rule.principal),
            operation: rule.operation,
            name: rule.name.as_deref().map(Box::from),
        });
        Self { rules: rules.collect(), default: config.default == Effect::Allow }
    }

    /// Decides. `name` is the service's own name of the tool or prompt, or the resource's URI. Linear in the number
    /// of rules; allocates nothing.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        service: &ServiceId,
        name: &str,
        operation: Operation,
    ) -> Decision {
        let fits = |rule: &Compiled| {
            rule.operation.is_none_or(|only| only == operation)
                && rule.service.matches(service.as_str())
                && rule.tool.matches(name)
                && rule.principal.matches(&principal.id)
        };
        match self.rules.iter().position(fits) {
            Some(index) => Decision { allow: self.rules[index].allow, rule: Some(index) },
            None => Decision { allow: self.default, rule: None },
        }
    }

    /// [`decide`](Self::decide) as a result.
    ///
    /// # Errors
    /// [`Error::Denied`] says which rule it was, by number (from 1) and name.
    pub fn check(
        &self,
        principal: &Principal,
        service: &ServiceId,
        name: &str,
        operation: Operation,
    ) -> Result<(), Error> {
        let decision = self.decide(principal, service, name, operation);
        if decision.allow {
            return Ok(());
        }
        Err(Error::Denied {
            principal: principal.id.to_string(),
            service: service.to_string(),
            name: name.to_owned(),
            reason: self.reason(decision),
        })
    }

    /// What decided, in words.
    #[must_use]
    pub fn reason(&self, decision: Decision) -> String {
        let verb = if decision.allow { "allows" } else { "denies" };
        let Some(index) = decision.rule else {
            return format!("no rule fits and the default (policy.default) {verb} it");
        };
        let mut reason = format!("rule {}", index + 1);
        if let Some(name) = self.rules.get(index).and_then(|rule| rule.name.as_deref()) {
            // Writing to a String can't fail.
            let _ = write!(reason, " {name:?}");
        }
        let _ = write!(reason, " (policy.rules[{index}]) {verb} it");
        reason
    }
}

#[cfg(test)]
mod tests {
    use trunkline_model::Failure;

    use super::*;

    fn rule(effect: Effect, service: &str, tool: &str) -> Rule {
        Rule {
            name: None,
            effect,
            service: service.into(),
            tool: tool.into(),
            principal: anything(),
            operation: None,
        }
    }

    fn allowed(authorizer: &Authorizer, principal: &str, service: &str, name: &str) -> bool {
        let principal = Principal::api_key(principal);
        authorizer.decide(&principal, &ServiceId::new(service), name, Operation::CallTool).allow
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let admin = Rule { principal: "admin-*".into(), ..rule(Effect::Allow, "shop-*", "delete_order") };
        let authorizer = Authorizer::new(&Config {
            default: Effect::Allow,
            rules: vec![admin, rule(Effect::Deny, "shop-*", "delete_*")],
        });
        assert!(allowed(&authorizer, "admin-1", "shop-orders", "delete_order"));
        assert!(!allowed(&authorizer, "admin-1", "shop-orders", "delete_all"));
        assert!(!allowed(&authorizer, "ci", "shop-orders", "delete_order"));
        assert!(allowed(&authorizer, "ci", "shop-orders", "list_orders"));
        assert!(allowed(&authorizer, "ci", "git", "delete_order"));
    }

    #[test]
    fn a_rule_can_be_about_one_operation() {
        let reads =
            Rule { operation: Some(Operation::ReadResource), ..rule(Effect::Allow, "*", "file:///pub/*") };
        let authorizer = Authorizer::new(&Config { default: Effect::Deny, rules: vec![reads] });
        let decide = |name, operation| {
            authorizer.decide(&Principal::local(), &ServiceId::new("files"), name, operation)
        };
        let by_rule = Decision { allow: true, rule: Some(0) };
        assert_eq!(decide("file:///pub/a", Operation::ReadResource), by_rule);
        assert_eq!(decide("file:///pub/a", Operation::CallTool), Decision { allow: false, rule: None });
    }

    #[test]
    fn a_refusal_names_its_rule_and_who_can_change_it() {
        let named = Rule { name: Some("no deletes".into()), ..rule(Effect::Deny, "*", "delete_*") };
        let authorizer = Authorizer::new(&Config { default: Effect::Allow, rules: vec![named] });
        let refusal = authorizer
            .check(&Principal::local(), &ServiceId::new("shop"), "delete_order", Operation::CallTool)
            .unwrap_err();
        let failure = Failure::from(refusal);
        assert_eq!(
            failure.explain(),
            "Not allowed (TL2003): \"local\" may not use \"delete_order\" of the service \"shop\": rule 1 \"no \
             deletes\" (policy.rules[0]) denies it. Retrying the same request will not help. Use another tool, or ask \
             the operator: whoever maintains the gateway's configuration can change policy.rules."
        );
        let closed = Authorizer::new(&Config { default: Effect::Deny, rules: Vec::new() });
        let reason = closed
            .check(&Principal::local(), &ServiceId::new("shop"), "x", Operation::CallTool)
            .unwrap_err()
            .to_string();
        assert!(reason.ends_with("no rule fits and the default (policy.default) denies it"), "{reason}");
    }
}
