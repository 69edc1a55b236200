//! Webhooks: the proofs by which a request is known to come from whom it should, and the signature of what goes out.
//!
//! `standard` is Standard Webhooks 1.0 (standardwebhooks.com), `github` what GitHub sends (`X-Hub-Signature-256`), `stripe`
//! what Stripe sends (`Stripe-Signature`). All are HMAC-SHA-256, compared in constant time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::hmac;
use serde_json::{Map, Value, json};
use trunkline_model::{Json, Principal, PrincipalKind};

use crate::{Error, identity};

/// How the step of a delivery to a webhook is called: this and the name of its subscription.
pub const TOOL: &str = "webhook:";

/// The most signatures of a request that are looked at.
const MAX_SIGNATURES: usize = 16;

/// How a request proves where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Standard,
    /// `X-Hub-Signature-256`; it has no time.
    Github,
    /// `Stripe-Signature`.
    Stripe,
}

/// A webhook that comes in.
#[derive(Debug)]
pub struct Webhook {
    /// Its name.
    pub name: Arc<str>,
    /// The source of its events.
    pub source: String,
    /// For whom it publishes.
    pub principal: Arc<Principal>,
    scheme: Scheme,
    key: hmac::Key,
    tolerance: Duration,
    kind: Option<String>,
}

impl Webhook {
    /// A webhook. The type of its events is what the sender calls it, unless `kind` is given.
    ///
    /// # Errors
    /// What is wrong with the secret, in words that do not repeat it.
    pub fn new(
        name: &str,
        scheme: Scheme,
        secret: &str,
        tolerance: Duration,
        kind: Option<String>,
        source: Option<String>,
    ) -> Result<Self, &'static str> {
        let key = match scheme {
            Scheme::Standard => key(secret)?,
            Scheme::Github | Scheme::Stripe => raw(secret)?,
        };
        let principal = Principal { id: Arc::from(format!("webhook:{name}")), kind: PrincipalKind::System };
        Ok(Self {
            name: Arc::from(name),
            source: source.unwrap_or_else(|| format!("/webhooks/{name}")),
            principal: Arc::new(principal),
            scheme,
            key,
            tolerance,
            kind,
        })
    }

    /// The event that a request brings.
    ///
    /// # Errors
    /// [`Error::Unproven`], whatever is wrong with the proof.
    pub fn event<'h>(
        &self,
        header: impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Value, Error> {
        let id = self.proven(&header, body, now).ok_or(Error::Unproven)?;
        let mut event = Map::new();
        let data = Json::parse(body.to_vec()).ok().map(|json| json.to_value());
        let said = |name: &str| data.as_ref().and_then(|data| data[name].as_str()).map(str::to_owned);
        let kind = self.kind.clone().unwrap_or_else(|| match self.scheme {
            Scheme::Standard => named(&format!("webhook.{}", self.name), said("type")),
            Scheme::Github => named("com.github", header("x-github-event").map(str::to_owned)),
            Scheme::Stripe => named("com.stripe", said("type")),
        });
        // A sender that gives no id sends the same body again where it sends the same event again.
        let id = id
            .or_else(|| said("id"))
            .unwrap_or_else(|| identity::of(&["webhook", &self.name, &STANDARD.encode(body)]).to_string());
        event.insert("type".to_owned(), json!(kind));
        event.insert("source".to_owned(), json!(self.source));
        event.insert("id".to_owned(), json!(id));
        match (data, std::str::from_utf8(body)) {
            (Some(data), _) => event.insert("data".to_owned(), data),
            (None, Ok(text)) => event.insert("data".to_owned(), json!(text)),
            (None, Err(_)) => event.insert("data_base64".to_owned(), json!(STANDARD.encode(body))),
        };
        Ok(Value::Object(event))
    }

    /// The id that the sender gave, where the proof holds; `Some(None)` where it gave none.
    fn proven<'h>(
        &self,
        header: &impl Fn(&str) -> Option<&'h str>,
        body: &[u8],
        now: Timestamp,
    ) -> Option<Option<String>> {
        match self.scheme {
            Scheme::Standard => {
                let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
                let signatures = header("webhook-signature")?.split(' ').take(MAX_SIGNATURES);
                let signatures = signatures.filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
                self.signed(&[id.as_bytes(), b".", time.as_bytes(), b".", body], signatures)?;
                self.recent(time, now)?;
                (!id.is_empty()).then(|| Some(id.to_owned()))
            }
            Scheme::Github => {
                let signature = unhex(header("x-hub-signature-256")?.strip_prefix("sha256=")?)?;
                self.signed(&[body], [signature].into_iter())?;
                Some(header("x-github-delivery").map(str::to_owned))
            }
            Scheme::Stripe => {
                let parts = header("stripe-signature")?.split(',').take(MAX_SIGNATURES);
                let parts: Vec<_> = parts.filter_map(|part| part.trim().split_once('=')).collect();
                let (_, time) = parts.iter().find(|(name, _)| *name == "t")?;
                let signatures = parts.iter().filter(|(name, _)| *name == "v1");
                let signatures = signatures.filter_map(|(_, signature)| unhex(signature));
                self.signed(&[time.as_bytes(), b".", body], signatures)?;
                self.recent(time, now)?;
                Some(None)
            }
        }
    }

    fn signed(&self, parts: &[&[u8]], mut signatures: impl Iterator<Item = Vec<u8>>) -> Option<()> {
        let text = parts.concat();
        signatures.any(|signature| hmac::verify(&self.key, &text, &signature).is_ok()).then_some(())
    }

    fn recent(&self, time: &str, now: Timestamp) -> Option<()> {
        let time: i64 = time.parse().ok()?;
        (now.as_second().abs_diff(time) <= self.tolerance.as_secs()).then_some(())
    }
}

/// A type of events: what is given, made plain, after a prefix.
fn named(prefix: &str, given: Option<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let given: String = given.unwrap_or_default().chars().take(100).map(plain).collect();
    if given.is_empty() { prefix.to_owned() } else { format!("{prefix}.{given}") }
}

/// What signs that which goes out, by Standard Webhooks.
#[derive(Debug)]
pub struct Signer(hmac::Key);

impl Signer {
    /// Signs with a secret: `whsec_` and base64, or any text.
    ///
    /// # Errors
    /// What is wrong with it, in words that do not repeat it.
    pub fn new(secret: &str) -> Result<Self, &'static str> {
        key(secret).map(Self)
    }

    /// The value of `webhook-signature`. `time` is in seconds since 1970.
    #[must_use]
    pub fn sign(&self, id: &str, time: i64, body: &[u8]) -> String {
        let text = [id.as_bytes(), b".", time.to_string().as_bytes(), b".", body].concat();
        format!("v1,{}", STANDARD.encode(hmac::sign(&self.0, &text)))
    }
}

/// The key of a secret of Standard Webhooks.
fn key(secret: &str) -> Result<hmac::Key, &'static str> {
    match secret.trim().strip_prefix("whsec_") {
        Some(encoded) => match STANDARD.decode(encoded) {
            Ok(bytes) if !bytes.is_empty() => Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes)),
            _ => Err("what comes after whsec_ is not base64"),
        },
        None => raw(secret),
    }
}

fn raw(secret: &str) -> Result<hmac::Key, &'static str> {
    match secret.trim() {
        "" => Err("it is empty"),
        secret => Ok(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(scheme: Scheme, secret: &str) -> Webhook {
        Webhook::new("in", scheme, secret, Duration::from_secs(300), None, None).unwrap()
    }

    fn asked(webhook: &Webhook, headers: &[(&str, &str)], body: &str, now: i64) -> Result<Value, Error> {
        let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        webhook.event(header, body.as_bytes(), Timestamp::from_second(now).unwrap())
    }

    /// The example of the Standard Webhooks specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &str = r#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const TIME: i64 = 1_614_265_330;

    #[test]
    fn the_example_of_the_specification_holds_both_ways() {
        assert_eq!(Signer::new(SECRET).unwrap().sign(ID, TIME, BODY.as_bytes()), SIGNATURE);
        let webhook = webhook(Scheme::Standard, SECRET);
        let time = TIME.to_string();
        let headers = [("webhook-id", ID), ("webhook-timestamp", &*time), ("webhook-signature", SIGNATURE)];
        let event = asked(&webhook, &headers, BODY, TIME + 299).unwrap();
        assert_eq!(
            event,
            json!({
                "type": "webhook.in", "source": "/webhooks/in", "id": ID, "data": {"test": 2_432_232_314_u64},
            })
        );
        for now in [TIME + 301, TIME - 301] {
            assert!(matches!(asked(&webhook, &headers, BODY, now), Err(Error::Unproven)));
        }
        assert!(asked(&webhook, &headers, r#"{"test": 1}"#, TIME).is_err());
        assert!(asked(&webhook, &headers[..2], BODY, TIME).is_err());
        let two = format!("v1,AAAA v2,x {SIGNATURE}");
        let headers = [headers[0], headers[1], ("webhook-signature", &*two)];
        assert!(asked(&webhook, &headers, BODY, TIME).is_ok());
    }

    #[test]
    fn the_example_of_github_holds() {
        // From GitHub's page "Validating webhook deliveries".
        let webhook = webhook(Scheme::Github, "It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [
            ("x-hub-signature-256", signature),
            ("x-github-event", "pull request"),
            ("x-github-delivery", "1-2"),
        ];
        let event = asked(&webhook, &headers, "Hello, World!", 0).unwrap();
        assert_eq!(
            (&event["type"], &event["id"], &event["data"]),
            (&json!("com.github.pull_request"), &json!("1-2"), &json!("Hello, World!"))
        );
        assert!(asked(&webhook, &headers, "Hello, World?", 0).is_err());
        for bad in [
            "sha256=",
            "sha1=757107",
            "sha256=zz7107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        ] {
            assert!(asked(&webhook, &[("x-hub-signature-256", bad)], "Hello, World!", 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stripe_sends_is_known_by_the_id_in_its_body() {
        let secret = "whsec_test";
        let webhook = webhook(Scheme::Stripe, secret);
        let body = r#"{"id": "evt_1", "type": "charge.succeeded"}"#;
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, format!("100.{body}").as_bytes());
        let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = format!("t=100,v1={},v1={hex},v0=1", "0".repeat(64));
        let event = asked(&webhook, &[("stripe-signature", &header)], body, 400).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("com.stripe.charge.succeeded"), &json!("evt_1")));
        assert!(asked(&webhook, &[("stripe-signature", &header)], body, 401).is_err());
        let other_time = header.replace("t=100", "t=101");
        assert!(asked(&webhook, &[("stripe-signature", &other_time)], body, 101).is_err());
    }

    #[test]
    fn a_secret_that_is_none_is_refused() {
        assert!(
            Signer::new(" ").is_err() && Signer::new("whsec_%").is_err() && Signer::new("whsec_").is_err()
        );
    }
}
