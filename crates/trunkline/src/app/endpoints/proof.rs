//! What proves to an endpoint who asks: credentials that a workflow holds or that a secret of the configuration does, and
//! tokens that are had for them (OAuth 2.0, OpenID Connect).

use std::collections::HashMap;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Request, header};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use trunkline_connectors::http_client::{Answer, HttpClient};
use trunkline_connectors::openapi::Token;
use trunkline_orchestrator::Fault;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::access::Access;
use super::{Failed, refused, text_of};

/// The largest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// How many tokens are kept.
const MAX_KEPT: usize = 256;

/// Where the token endpoint is below an authority that says nothing else.
const TOKEN_PATH: &str = "/oauth2/token";

/// Tokens that are still good, by the SHA-256 of what they were had with.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<[u8; 32], Token>>);

/// What proves who asks is made with this.
#[derive(Clone, Copy)]
pub(super) struct Proofs<'a> {
    pub(super) http: &'a HttpClient,
    pub(super) access: &'a Access,
    pub(super) tokens: &'a Tokens,
    pub(super) deadline: Instant,
}

/// What a policy says, by member.
struct Policy<'a> {
    access: &'a Access,
    members: Map<String, Value>,
    /// Whose members they are.
    secret: Option<&'a str>,
}

impl Policy<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.members.get(name).filter(|value| !value.is_null()).map(text_of)
    }

    fn required(&self, name: &str) -> Result<String, Failed> {
        self.text(name).ok_or_else(|| match self.secret {
            Some(secret) => wrong(format!("the secret {secret:?} has no {name:?}")),
            None => wrong(format!("the authentication has no {name:?}")),
        })
    }

    /// The items of a list, or of words in one text.
    fn words(&self, name: &str) -> String {
        match self.members.get(name) {
            Some(Value::Array(items)) => items.iter().map(text_of).collect::<Vec<_>>().join(" "),
            _ => self.text(name).unwrap_or_default(),
        }
    }

    /// Whether what it holds may go to `url`.
    fn may_go_to(&self, url: &Url) -> Result<(), Failed> {
        self.access.url(url)?;
        self.secret.map_or(Ok(()), |name| self.access.secret(name, url).map(drop))
    }
}

impl Proofs<'_> {
    /// The `Authorization` header with which `url` is asked.
    pub(super) async fn authorization(
        &self,
        credentials: &Value,
        url: &Url,
    ) -> Result<Option<HeaderValue>, Failed> {
        let Some((kind, given)) = credentials.as_object().and_then(|policy| policy.iter().next()) else {
            return Ok(None);
        };
        let policy = self.policy(given, url)?;
        let proof = match &**kind {
            "basic" => {
                let login = format!("{}:{}", policy.required("username")?, policy.required("password")?);
                format!("Basic {}", STANDARD.encode(login))
            }
            "bearer" => format!("Bearer {}", policy.required("token")?),
            "oauth2" | "oidc" => return self.token(&policy, kind == "oidc").await.map(Some),
            other => return Err(wrong(format!("there is no connector for authentication by {other} yet"))),
        };
        let mut proof = HeaderValue::try_from(proof)
            .map_err(|_| wrong("a credential has characters that no header may have".to_owned()))?;
        proof.set_sensitive(true);
        Ok(Some(proof))
    }

    fn policy<'p>(&'p self, given: &'p Value, url: &Url) -> Result<Policy<'p>, Failed> {
        let secret = given.get("use").and_then(Value::as_str);
        let members = match secret {
            None => given.as_object().cloned().unwrap_or_default(),
            Some(name) => {
                let values = self.access.secret(name, url)?.iter();
                values.map(|(name, value)| (name.clone(), value.expose().into())).collect()
            }
        };
        Ok(Policy { access: self.access, members, secret })
    }

    /// A token, had for these credentials a while ago or now.
    async fn token(&self, policy: &Policy<'_>, oidc: bool) -> Result<HeaderValue, Failed> {
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        context.update(Value::from(policy.members.clone()).to_string().as_bytes());
        context.update(&[u8::from(oidc)]);
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        let fresh = |token: &Token| token.fresh_until > Instant::now();
        if let Some(token) = self.tokens.0.lock().get(&key).filter(|token| fresh(token)) {
            return Ok(token.authorization.clone());
        }
        let token = self.fetch(policy, oidc).await?;
        let authorization = token.authorization.clone();
        let mut kept = self.tokens.0.lock();
        kept.retain(|_, token| fresh(token));
        if kept.len() < MAX_KEPT {
            kept.insert(key, token);
        }
        Ok(authorization)
    }

    async fn fetch(&self, policy: &Policy<'_>, oidc: bool) -> Result<Token, Failed> {
        let authority = url(&policy.required("authority")?)?;
        policy.may_go_to(&authority)?;
        let endpoint =
            if oidc { self.published(policy, &authority).await? } else { below(&authority, policy)? };
        policy.may_go_to(&endpoint)?;
        let request = request(policy, &endpoint)?;
        let answer = self.send(request, &endpoint).await?;
        Token::read(&answer).map_err(|cause| unproven(&endpoint, &cause))
    }

    /// The token endpoint that an authority of OpenID Connect publishes (Discovery 1.0, section 4).
    async fn published(&self, policy: &Policy<'_>, authority: &Url) -> Result<Url, Failed> {
        let place = format!("{}/.well-known/openid-configuration", authority.as_str().trim_end_matches('/'));
        let place = url(&place)?;
        let request = Request::get(place.as_str()).header(header::ACCEPT, "application/json");
        let request = request.body(Full::default()).map_err(|error| wrong(error.to_string()))?;
        let answer = self.send(request, &place).await?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let issuers = policy.words("issuers");
        let issuer = told["issuer"].as_str().unwrap_or_default();
        if !issuers.is_empty() && !issuers.split(' ').any(|trusted| trusted == issuer) {
            return Err(unproven(&place, &format!("the issuer {issuer:?} is none of `issuers`")));
        }
        let endpoint = told["token_endpoint"].as_str();
        url(endpoint.ok_or_else(|| unproven(&place, &format!("{}: no token_endpoint", answer.status)))?)
    }

    async fn send(&self, request: Request<Full<Bytes>>, to: &Url) -> Result<Answer, Failed> {
        let answer = self.http.send(request, self.deadline, MAX_ANSWER).await;
        answer.map_err(|error| unproven(to, &error.to_string()))
    }
}

/// The token endpoint of an authority of OAuth 2.0.
fn below(authority: &Url, policy: &Policy<'_>) -> Result<Url, Failed> {
    let path = policy.text("endpoints.token").unwrap_or_else(|| TOKEN_PATH.to_owned());
    url(&format!("{}/{}", authority.as_str().trim_end_matches('/'), path.trim_start_matches('/')))
}

/// The request for a token (RFC 6749, section 4; RFC 8693 for an exchange).
fn request(policy: &Policy<'_>, endpoint: &Url) -> Result<Request<Full<Bytes>>, Failed> {
    let grant = policy.text("grant").unwrap_or_else(|| "client_credentials".to_owned());
    let mut form = vec![("grant_type", grant.clone())];
    let members: &[(&'static str, &str)] = match &*grant {
        "client_credentials" => &[],
        "password" => &[("username", "username"), ("password", "password")],
        "urn:ietf:params:oauth:grant-type:token-exchange" => {
            &[("subject_token", "subject.token"), ("subject_token_type", "subject.type")]
        }
        other => return Err(wrong(format!("the grant {other} needs a person: no workflow can use it"))),
    };
    for (parameter, member) in members {
        form.push((parameter, policy.required(member)?));
    }
    let optional = [("actor_token", "actor.token"), ("actor_token_type", "actor.type")];
    form.extend(optional.into_iter().filter_map(|(name, member)| Some((name, policy.text(member)?))));
    for (name, words) in [("scope", policy.words("scopes")), ("audience", policy.words("audiences"))] {
        if !words.is_empty() {
            form.push((name, words));
        }
    }
    let how = policy.text("client.authentication").unwrap_or_else(|| "client_secret_post".to_owned());
    let mut basic = None;
    match &*how {
        "client_secret_basic" => {
            let encoded = |text: String| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = (encoded(policy.required("client.id")?), encoded(policy.required("client.secret")?));
            basic = Some(format!("Basic {}", STANDARD.encode(format!("{}:{}", pair.0, pair.1))));
        }
        "client_secret_post" => {
            form.extend(policy.text("client.id").map(|id| ("client_id", id)));
            form.extend(policy.text("client.secret").map(|secret| ("client_secret", secret)));
        }
        "none" => form.push(("client_id", policy.required("client.id")?)),
        // A signed assertion that the workflow holds (RFC 7523); we sign none.
        other => {
            let assertion = policy.text("client.assertion");
            let assertion = assertion.ok_or_else(|| wrong(format!("{other} needs `client.assertion`")))?;
            form.extend(policy.text("client.id").map(|id| ("client_id", id)));
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
            form.extend([("client_assertion_type", kind), ("client_assertion", assertion)]);
        }
    }
    let json = policy.members.get("json").is_some_and(|json| *json == Value::Bool(true));
    let (kind, body) = if json {
        let object: Map<String, Value> =
            form.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        ("application/json", Value::from(object).to_string())
    } else {
        let mut encoded = Serializer::new(String::new());
        encoded.extend_pairs(form);
        ("application/x-www-form-urlencoded", encoded.finish())
    };
    let mut request = Request::post(endpoint.as_str())
        .header(header::CONTENT_TYPE, kind)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, concat!("trunkline/", env!("CARGO_PKG_VERSION")));
    if let Some(basic) = basic {
        request = request.header(header::AUTHORIZATION, basic);
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| wrong(error.to_string()))
}

fn url(text: &str) -> Result<Url, Failed> {
    Url::parse(text).map_err(|error| wrong(format!("{text:?} is no absolute URI: {error}")))
}

fn wrong(what: String) -> Failed {
    refused(Fault::configuration(what))
}

/// No token was had. Nothing has happened yet.
fn unproven(endpoint: &Url, cause: &str) -> Failed {
    let mut shown = endpoint.clone();
    shown.set_query(None);
    refused(Fault::standard("authentication", 401, "No token", format!("{shown}: {cause}")))
}
