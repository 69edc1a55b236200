//! Access tokens by the OAuth 2.0 client credentials grant (RFC 6749, section 4.4): fetched when first needed, kept
//! until shortly before they expire, fetched by one caller at a time.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use parking_lot::RwLock;
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use trunkline_model::Secret;

use crate::Error;
use crate::http_client::{Answer, HttpClient};

use super::config::Credential;
use super::schema::shortened;

/// How long before it expires a token is fetched anew.
const MARGIN: Duration = Duration::from_secs(30);

/// How long a token is kept whose life the endpoint does not state.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);

/// The largest answer of a token endpoint, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Where tokens for one scheme and one set of scopes come from.
#[derive(Debug)]
pub(super) struct TokenSource {
    scheme: String,
    url: Url,
    client_id: String,
    client_secret: Secret,
    scopes: String,
    http: HttpClient,
    current: RwLock<Option<Token>>,
    fetching: tokio::sync::Mutex<()>,
}

/// An access token.
#[derive(Clone, Debug)]
pub struct Token {
    /// The value of `Authorization` that it makes.
    pub authorization: HeaderValue,
    /// Until when it is to be used.
    pub fresh_until: Instant,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

impl Token {
    /// Of a token endpoint's answer (RFC 6749, section 5).
    ///
    /// # Errors
    /// In words, what the endpoint answered instead.
    pub fn read(answer: &Answer) -> Result<Self, String> {
        if !answer.status.is_success() {
            let said = shortened(&String::from_utf8_lossy(&answer.body), 300);
            return Err(format!("{} {said}", answer.status));
        }
        let token: TokenAnswer = serde_json::from_slice(&answer.body)
            .map_err(|error| format!("the answer is not a token: {error}"))?;
        if token.token_type.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err("the token is not a bearer token".to_owned());
        }
        let life = token.expires_in.as_ref().and_then(|life| match life {
            serde_json::Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let life = life.map_or(DEFAULT_LIFE, |seconds| Duration::from_secs(seconds.min(30 * 86_400)));
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.access_token))
            .map_err(|_| "the token has characters that HTTP can't carry".to_owned())?;
        authorization.set_sensitive(true);
        let fresh_until = Instant::now() + life.saturating_sub(MARGIN.min(life / 10));
        Ok(Self { authorization, fresh_until })
    }
}

impl TokenSource {
    pub(super) fn new(
        scheme: &str,
        url: Url,
        credential: &Credential,
        scopes: String,
        http: HttpClient,
    ) -> Self {
        Self {
            scheme: scheme.to_owned(),
            url,
            client_id: credential.client_id.clone().unwrap_or_default(),
            client_secret: credential.client_secret.clone().unwrap_or_else(|| Secret::new("")),
            scopes,
            http,
            current: RwLock::new(None),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    fn fresh(&self) -> Option<HeaderValue> {
        let current = self.current.read();
        current.as_ref().filter(|token| token.fresh_until > Instant::now()).map(|t| t.authorization.clone())
    }

    /// The value of `Authorization`.
    ///
    /// # Errors
    /// [`Error::Token`] says what the endpoint answered.
    pub(super) async fn authorization(&self, deadline: Instant) -> Result<HeaderValue, Error> {
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let _only_one = self.fetching.lock().await;
        if let Some(token) = self.fresh() {
            return Ok(token);
        }
        let token = self.fetch(deadline).await?;
        let authorization = token.authorization.clone();
        *self.current.write() = Some(token);
        Ok(authorization)
    }

    /// Forgets the token that the service has refused, unless another caller has replaced it already.
    pub(super) fn refuse(&self, refused: &HeaderValue) {
        let mut current = self.current.write();
        if current.as_ref().is_some_and(|token| token.authorization == refused) {
            *current = None;
        }
    }

    fn error(&self, cause: String) -> Error {
        Error::Token { scheme: self.scheme.clone(), cause: format!("{}: {cause}", self.url) }
    }

    async fn fetch(&self, deadline: Instant) -> Result<Token, Error> {
        let mut answer = self.ask(deadline, true).await?;
        // Basic authentication is what every server must support (section 2.3.1); some want the body all the same.
        if matches!(answer.status.as_u16(), 400 | 401) {
            answer = self.ask(deadline, false).await?;
        }
        Token::read(&answer).map_err(|cause| self.error(cause))
    }

    async fn ask(&self, deadline: Instant, basic: bool) -> Result<Answer, Error> {
        let request = self.request(basic).map_err(|error| self.error(error.to_string()))?;
        self.http.send(request, deadline, MAX_ANSWER).await.map_err(|error| self.error(error.to_string()))
    }

    /// `basic`: the client names itself in `Authorization`, otherwise in the form.
    fn request(&self, basic: bool) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes);
        }
        if !basic {
            form.append_pair("client_id", &self.client_id);
            form.append_pair("client_secret", self.client_secret.expose());
        }
        let mut request = Request::post(self.url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, super::USER_AGENT);
        if basic {
            let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(&self.client_id), encoded(self.client_secret.expose()));
            request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        request.body(Full::new(Bytes::from(form.finish())))
    }
}
