//! What a tool can do, guessed from its name: `createOrder` and `add_orders` can `order.create`. What is guessed is marked as that
//! wherever it is shown, and counts only where nobody has said what the tool can do.

use trunkline_model::Capability;

use crate::text::split;

/// Words that say what is done, and the word that stands for all of them.
const VERBS: [(&str, &[&str]); 36] = [
    ("get", &["get", "fetch", "read", "retrieve", "show", "describe", "view", "lookup", "load"]),
    ("list", &["list", "browse", "enumerate", "all"]),
    ("search", &["search", "find", "query", "filter"]),
    ("create", &["create", "add", "insert", "new", "make", "post", "place", "open"]),
    ("update", &["update", "edit", "modify", "set", "patch", "put", "change", "rename"]),
    ("delete", &["delete", "remove", "destroy", "drop", "erase"]),
    ("cancel", &["cancel", "abort", "revoke", "void"]),
    ("send", &["send", "notify", "mail", "publish", "push"]),
    ("count", &["count"]),
    ("check", &["check", "verify", "validate", "test"]),
    ("track", &["track", "watch", "monitor", "follow"]),
    ("start", &["start", "run", "launch", "begin", "execute", "trigger"]),
    ("stop", &["stop", "end", "kill", "terminate"]),
    ("upload", &["upload", "write", "save", "store"]),
    ("download", &["download", "export"]),
    ("import", &["import"]),
    ("convert", &["convert", "translate", "transform"]),
    ("calculate", &["calculate", "compute", "estimate", "sum"]),
    ("reserve", &["reserve", "book", "hold", "allocate"]),
    ("release", &["release", "unreserve", "free"]),
    ("charge", &["charge", "pay", "capture", "bill"]),
    ("refund", &["refund", "reimburse", "reverse"]),
    ("ship", &["ship", "dispatch", "deliver"]),
    ("assign", &["assign", "allot"]),
    ("move", &["move", "transfer"]),
    ("copy", &["copy", "clone", "duplicate", "fork"]),
    ("merge", &["merge", "join", "combine"]),
    ("approve", &["approve", "accept", "confirm"]),
    ("reject", &["reject", "decline", "deny"]),
    ("close", &["close", "resolve", "finish", "complete"]),
    ("subscribe", &["subscribe", "register", "enable"]),
    ("unsubscribe", &["unsubscribe", "unregister", "deregister", "disable"]),
    ("lock", &["lock", "acquire"]),
    ("unlock", &["unlock"]),
    ("generate", &["generate", "draw", "render"]),
    ("summarize", &["summarize", "summarise", "analyze", "analyse"]),
];

/// Words of a name that only say which one is meant.
const EMPTY: [&str; 13] =
    ["new", "a", "an", "the", "by", "id", "for", "of", "to", "from", "in", "with", "my"];

/// The longest term that is guessed, in words.
const MOST: usize = 4;

/// What a tool of this name can do: what it is about, then what it does with that. None where the name does not say it.
#[must_use]
pub fn inferred(name: &str) -> Option<Capability> {
    let mut words = Vec::new();
    split(name, |word| words.push(word.to_owned()));
    let verb =
        |word: &String| VERBS.iter().find(|(_, all)| all.contains(&word.as_str())).map(|(verb, _)| *verb);
    // The first word that says what is done; in `order_create` it is the last.
    let (at, does) = words.iter().enumerate().find_map(|(at, word)| Some((at, verb(word)?)))?;
    let about = words.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, word)| word);
    let about: Vec<&str> =
        about.filter(|word| !EMPTY.contains(&word.as_str())).map(|word| single(word)).take(MOST).collect();
    if about.is_empty() {
        return None;
    }
    Some(Capability::new(format!("{}.{does}", about.join("-"))))
}

/// Whether a tool of this name seems to change nothing.
#[must_use]
pub fn seems_read_only(name: &str) -> bool {
    const READS: [&str; 7] = ["get", "list", "search", "count", "check", "track", "summarize"];
    let term = inferred(name);
    term.is_some_and(|term| term.as_str().rsplit('.').next().is_some_and(|does| READS.contains(&does)))
}

/// One of several: `orders` without its ending.
fn single(word: &str) -> &str {
    match word.strip_suffix('s') {
        Some(one) if !one.ends_with(['s', 'u', 'i']) && one.len() > 2 => one,
        _ => word,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_the_same_give_the_same() {
        let term = |name: &str| inferred(name).map(|term| term.as_str().to_owned());
        for name in ["createOrder", "add_orders", "order-create", "CreateNewOrder"] {
            assert!(
                term(name).is_some_and(|term| term.ends_with(".create") && term.starts_with("order")),
                "{name}: {:?}",
                term(name)
            );
        }
        assert_eq!(term("getOrderById").as_deref(), Some("order.get"));
        assert_eq!(term("list_pull_requests").as_deref(), Some("pull-request.list"));
        assert_eq!(term("refundPayment").as_deref(), Some("payment.refund"));
        assert_eq!(term("log"), None);
        assert_eq!(term("get"), None);
        assert!(seems_read_only("find_orders") && !seems_read_only("cancelOrder") && !seems_read_only("log"));
    }
}
