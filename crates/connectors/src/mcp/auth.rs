//! OAuth 2.1 as MCP uses it, for servers behind HTTP. The protocol's steps (metadata, registration, PKCE, exchange,
//! refresh, issuer checks) are rmcp's; this decides when they are taken, and asks a person where one is needed.

mod loopback;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use rmcp::transport::auth::{
    AuthError, AuthorizationCallback, AuthorizationManager, AuthorizationRequest, AuthorizationSession,
    ClientCredentialsConfig, ScopeUpgradeConfig, WWWAuthenticateParams,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

use trunkline_model::BoxFuture;

use loopback::Loopback;

use super::config::{Grant, OAuth};
use super::error::Error;

/// The most authorizations that are asked for within [`WINDOW`]: a server that is never content shall not make a
/// person click for ever.
const MAX_AUTHORIZATIONS: usize = 3;
const WINDOW: Duration = Duration::from_secs(600);

/// How long a request waits for an authorization that is under way.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a person may take to follow the link.
const LINK_LIFETIME: Duration = Duration::from_secs(600);

/// Brings a person to an authorization page and comes back with where the page led to.
pub trait Authorizer: Send + Sync {
    /// Where the authorization server shall send the person's browser back to.
    fn redirect_uri(&self) -> String;

    /// Shows `url` to a person. Gives the whole URL that the browser was sent back to.
    ///
    /// # Errors
    /// Why nobody can follow the link, in words.
    fn authorize<'a>(&'a self, url: &'a str) -> BoxFuture<'a, Result<String, String>>;
}

/// The token of one service, and the steps to get one.
pub(super) struct Auth {
    url: Url,
    config: OAuth,
    client_name: String,
    authorizer: OnceLock<Arc<dyn Authorizer>>,
    wanted: Mutex<Option<Challenge>>,
    woken: Notify,
    progress: watch::Sender<Progress>,
    /// The server has taken the present token.
    worked: AtomicBool,
}

#[derive(Clone, Debug)]
struct Challenge {
    status: u16,
    header: String,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    token: Option<HeaderValue>,
    /// How often it has failed.
    failures: u64,
    /// What is being waited for, or what went wrong last.
    note: String,
}

/// What is kept from one authorization to the next.
#[derive(Default)]
struct Steps {
    manager: Option<AuthorizationManager>,
    recent: VecDeque<Instant>,
    /// A refresh was the last step: another refusal means that refreshing does not help, unless the token has worked meanwhile.
    refreshed: bool,
}

impl Auth {
    /// The token of the server at `url`.
    pub(super) fn new(url: Url, config: OAuth, client_name: String) -> Self {
        Self {
            url,
            config,
            client_name,
            authorizer: OnceLock::new(),
            wanted: Mutex::new(None),
            woken: Notify::new(),
            progress: watch::Sender::default(),
            worked: AtomicBool::new(false),
        }
    }

    /// Sets who brings a person to an authorization page. The first one stays.
    pub(super) fn set_authorizer(&self, authorizer: Arc<dyn Authorizer>) {
        let _ = self.authorizer.set(authorizer);
    }

    /// A request was answered.
    pub(super) fn worked(&self) {
        if !self.worked.load(Ordering::Relaxed) {
            self.worked.store(true, Ordering::Relaxed);
        }
    }

    /// The present `Authorization` header.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        self.progress.borrow().token.clone()
    }

    /// Waits for a token other than `used`, which the server has refused.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] says what is missing: often that a person has to follow a link.
    pub(super) async fn renew(
        &self,
        status: u16,
        header: &str,
        used: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let mut progress = self.progress.subscribe();
        let failures = progress.borrow_and_update().failures;
        if let Some(token) = self.header().filter(|token| Some(token) != used) {
            return Ok(token);
        }
        *self.wanted.lock() = Some(Challenge { status, header: header.to_owned() });
        self.woken.notify_one();
        let until = Instant::now() + PATIENCE;
        loop {
            let changed = tokio::time::timeout_at(until, progress.changed()).await;
            let now = progress.borrow_and_update().clone();
            match now.token {
                Some(token) if Some(&token) != used => return Ok(token),
                _ if now.failures > failures || !matches!(changed, Ok(Ok(()))) => {
                    return Err(Error::Unauthorized(now.note));
                }
                _ => {}
            }
        }
    }

    /// Takes the steps whenever a token is wanted, for ever. `tell` is told what is waited for.
    pub(super) async fn run(&self, tell: impl Fn(&str)) {
        // The cold path's HTTP client takes the process-wide provider. Another one in place is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut steps = Steps::default();
        loop {
            self.woken.notified().await;
            let Some(challenge) = self.wanted.lock().take() else { continue };
            let outcome = self.advance(&mut steps, &challenge, &tell).await.and_then(|token| {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                    .map_err(|_| "the token can't stand in a header".to_owned())?;
                value.set_sensitive(true);
                Ok(value)
            });
            if let Err(reason) = &outcome {
                tell(reason);
            }
            self.progress.send_modify(|progress| match outcome {
                Ok(token) => {
                    progress.token = Some(token);
                    progress.note.clear();
                }
                Err(reason) => {
                    progress.failures += 1;
                    progress.note = reason;
                }
            });
        }
    }

    /// One step: a refresh where that may help, otherwise an authorization.
    async fn advance(
        &self,
        steps: &mut Steps,
        challenge: &Challenge,
        tell: &impl Fn(&str),
    ) -> Result<String, String> {
        if self.worked.swap(false, Ordering::Relaxed) {
            // It has expired since.
            steps.refreshed = false;
            if self.config.grant == Grant::ClientCredentials {
                // Nobody had to click for it, and it may have been a short one.
                steps.recent.clear();
            }
        }
        if challenge.status == 401
            && !std::mem::replace(&mut steps.refreshed, true)
            && let Some(manager) = &steps.manager
            && manager.refresh_token().await.is_ok()
            && let Ok(token) = manager.get_access_token().await
        {
            return Ok(token);
        }
        steps.refreshed = false;
        while steps.recent.front().is_some_and(|at| at.elapsed() > WINDOW) {
            steps.recent.pop_front();
        }
        if steps.recent.len() >= MAX_AUTHORIZATIONS {
            return Err(format!(
                "the server refused the token after {MAX_AUTHORIZATIONS} authorizations in a row"
            ));
        }
        steps.recent.push_back(Instant::now());
        let done = match self.config.grant {
            Grant::ClientCredentials => self.client_credentials(steps, challenge).await,
            Grant::AuthorizationCode => self.authorization_code(steps, challenge, tell).await,
        };
        done.map_err(|error| error.to_string())?;
        let Some(manager) = &steps.manager else { return Err("no token was given".to_owned()) };
        manager.get_access_token().await.map_err(|error| error.to_string())
    }

    async fn authorization_code(
        &self,
        steps: &mut Steps,
        challenge: &Challenge,
        tell: &impl Fn(&str),
    ) -> Result<(), AuthError> {
        let authorizer = match self.authorizer.get() {
            Some(authorizer) => authorizer,
            None => {
                let loopback = Loopback::bind().map_err(|error| {
                    AuthError::AuthorizationFailed(format!("nobody can come back from a link: {error}"))
                })?;
                self.authorizer.get_or_init(|| Arc::new(loopback))
            }
        };
        let wider = WWWAuthenticateParams::parse(&challenge.header, &self.url);
        let session = match (steps.manager.take(), wider.is_insufficient_scope(), wider.scope) {
            (Some(manager), true, Some(scope)) => {
                let url = manager.request_scope_upgrade(&scope).await?;
                AuthorizationSession::for_scope_upgrade(manager, url, &authorizer.redirect_uri())
            }
            _ => self.begin(challenge, authorizer.redirect_uri()).await?,
        };
        let url = session.get_authorization_url().to_owned();
        let note = format!("to let Trunkline use this server, visit {url}");
        tell(&note);
        self.progress.send_modify(|progress| progress.note = note);
        let back = tokio::time::timeout(LINK_LIFETIME, authorizer.authorize(&url)).await;
        let back = back.unwrap_or_else(|_| Err("nobody followed the link in time".to_owned()));
        let back = back.map_err(AuthError::AuthorizationFailed)?;
        let callback = AuthorizationCallback::from_redirect_url(&back)?;
        session
            .handle_callback_with_issuer(&callback.code, &callback.csrf_token, callback.issuer.as_deref())
            .await?;
        steps.manager = Some(session.auth_manager);
        Ok(())
    }

    /// Finds the authorization server anew and makes ourselves known there: what another server gave is not used.
    async fn begin(
        &self,
        challenge: &Challenge,
        redirect_uri: String,
    ) -> Result<AuthorizationSession, AuthError> {
        let manager = self.discovered(challenge).await?;
        let mut request = AuthorizationRequest::new(redirect_uri)
            .with_client_name(&self.client_name)
            .with_challenge(&challenge.header);
        request = match (&self.config.client_id, &self.config.client_metadata_url) {
            (Some(id), _) => request.with_preregistered_client(id),
            (None, Some(url)) => request.with_client_metadata_url(url),
            (None, None) => request,
        };
        if let Some(secret) = &self.config.client_secret {
            request = request.with_client_secret(secret.expose());
        }
        let mut scopes = manager.select_initial_scopes(&[]).await;
        scopes.extend(
            self.config.scopes.iter().filter(|scope| !scopes.contains(scope)).cloned().collect::<Vec<_>>(),
        );
        request = if scopes.is_empty() {
            request.with_initial_scope_selection()
        } else {
            request.with_scopes(scopes)
        };
        AuthorizationSession::new(manager, request).await.map_err(|(_, error)| error)
    }

    async fn discovered(&self, challenge: &Challenge) -> Result<AuthorizationManager, AuthError> {
        let mut manager = AuthorizationManager::new(self.url.clone()).await?;
        manager.set_scope_upgrade_config(ScopeUpgradeConfig::default());
        let header = Some(challenge.header.as_str()).filter(|header| !header.is_empty());
        let found = manager.resolve_metadata_from_challenge(header).await?;
        manager.set_metadata(found.metadata);
        Ok(manager)
    }

    async fn client_credentials(&self, steps: &mut Steps, challenge: &Challenge) -> Result<(), AuthError> {
        let (Some(id), Some(secret)) = (&self.config.client_id, &self.config.client_secret) else {
            let missing = "the client credentials grant needs `client_id` and `client_secret`".to_owned();
            return Err(AuthError::ClientCredentialsError(missing));
        };
        let mut manager = self.discovered(challenge).await?;
        let mut scopes = manager.select_initial_scopes(&[]).await;
        scopes.retain(|scope| scope != "offline_access");
        scopes.extend(
            self.config.scopes.iter().filter(|scope| !scopes.contains(scope)).cloned().collect::<Vec<_>>(),
        );
        let config = ClientCredentialsConfig::ClientSecret {
            client_id: id.clone(),
            client_secret: secret.expose().to_owned(),
            scopes,
            resource: Some(self.url.to_string()),
        };
        manager.validate_client_credentials_metadata(&config)?;
        manager.configure_client_credentials(&config)?;
        manager.exchange_client_credentials(&config).await?;
        steps.manager = Some(manager);
        Ok(())
    }
}
