//! An HTTP service: its document loaded in the background where need be, its tools, whether it can be reached.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::RwLock;
use trunkline_model::{
    BoxFuture, Call, CallContext, Contents, Failure, Outcome, Schema, Service, ServiceId, ServiceObserver,
    ServiceStatus, Tool, ToolSpec,
};
use url::Url;

use crate::Error;
use crate::http_client::HttpClient;

use super::client::{Client, Target};
use super::config::Config;
use super::document::{Document, location};
use super::health::{FIRST_WAIT, Health, LONGEST_WAIT};
use super::lower::{Lowered, Operation, lower};
use super::response::Shape;
use super::security::{Credentials, Security};
use super::server;
use super::tool::OperationTool;

/// The longest wait before a document that could be read but not used is read again.
const LONGEST_WAIT_UNUSABLE: Duration = Duration::from_secs(60);

/// What keeps a service up: run it for as long as the service is used. Dropping it stops it.
pub type Runner = BoxFuture<'static, ()>;

/// An HTTP service with an OpenAPI document.
pub struct OpenApi {
    id: ServiceId,
    config: Config,
    location: Url,
    base_url: Option<Url>,
    headers: Arc<HeaderMap>,
    http: HttpClient,
    health: Arc<Health>,
    observer: Arc<dyn ServiceObserver>,
    contents: RwLock<Arc<Contents>>,
}

/// Makes a service. A document in a file is read at once; one from a URL by the runner, which tries again until it is
/// there. A document that can't be used leaves the service down with the cause.
///
/// # Errors
/// The configuration can't be used.
pub async fn build(
    config: Config,
    base_dir: &Path,
    id: ServiceId,
    observer: Arc<dyn ServiceObserver>,
    http: HttpClient,
) -> Result<(Arc<OpenApi>, Runner), Error> {
    let location = location(&config.document, base_dir)?;
    let base_url = config.base_url.as_deref().map(base_url).transpose()?;
    let headers = Arc::new(headers(&config)?);
    let service = Arc::new(OpenApi {
        health: Arc::new(Health::new(id.clone(), observer.clone())),
        id,
        config,
        location,
        base_url,
        headers,
        http,
        observer,
        contents: RwLock::default(),
    });
    let loaded = service.location.scheme() == "file" && service.load().await.is_ok();
    let runner = service.clone().run(loaded);
    Ok((service, Box::pin(runner)))
}

fn base_url(text: &str) -> Result<Url, Error> {
    let wrong = |cause: String| Error::OpenApiConfig(format!("`base_url` {text:?}: {cause}"));
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(wrong("an http or https URL is expected".to_owned()))
    }
}

fn headers(config: &Config) -> Result<HeaderMap, Error> {
    let mut out = HeaderMap::new();
    for (name, value) in &config.headers {
        let wrong = || Error::OpenApiConfig(format!("`headers.{name}` can't be sent as an HTTP header"));
        let header = HeaderName::try_from(name).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        out.insert(header, value);
    }
    Ok(out)
}

impl OpenApi {
    /// Loads the document if that has not been done, then watches over the service.
    async fn run(self: Arc<Self>, loaded: bool) {
        let mut wait = FIRST_WAIT;
        let mut loaded = loaded;
        while !loaded {
            let longest = match self.load().await {
                Ok(()) => break,
                Err(Error::DocumentUnreadable { .. }) => LONGEST_WAIT,
                Err(_) => LONGEST_WAIT_UNUSABLE,
            };
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(longest);
            loaded = false;
        }
        self.health.watch().await;
    }

    async fn load(&self) -> Result<(), Error> {
        let result = self.read().await;
        match &result {
            Ok(()) => self.observer.contents_changed(&self.id),
            Err(error) => self.health.not_loaded(error.to_string()),
        }
        result
    }

    async fn read(&self) -> Result<(), Error> {
        let document = Document::load(&self.location, self.config.max_document_bytes, &self.http).await?;
        let config = self.config.clone();
        let lowered =
            tokio::task::spawn_blocking(move || lower(&document, &config)).await.map_err(|error| {
                Error::DocumentUnreadable { location: self.location.to_string(), cause: error.to_string() }
            })?;
        for warning in &lowered.warnings {
            tracing::warn!(service = %self.id, "{warning}");
        }
        if !lowered.left_out.is_empty() {
            tracing::info!(service = %self.id, operations = lowered.left_out.len(), "operations left out");
        }
        let protocol = lowered.protocol.clone();
        let contents = self.contents_of(lowered)?;
        *self.contents.write() = Arc::new(contents);
        self.health.loaded(&protocol);
        Ok(())
    }

    fn contents_of(&self, lowered: Lowered) -> Result<Contents, Error> {
        let client = Arc::new(Client {
            http: self.http.clone(),
            timeout: Duration::from_millis(self.config.timeout_ms),
            max_response_bytes: self.config.max_response_bytes,
        });
        let trusted = |url: &Url| self.trusts(url);
        let mut credentials = Credentials::new(&self.config, &lowered.schemes, trusted, self.http.clone());
        let version: Arc<str> = Arc::from(lowered.version.as_str());
        let mut tools: Vec<Arc<dyn Tool>> = Vec::with_capacity(lowered.operations.len());
        for operation in lowered.operations {
            let target = self.target(&operation, &mut credentials)?;
            let shape = operation
                .output
                .as_ref()
                .map_or(Shape::Open, |output| if output.wrapped { Shape::Wrapped } else { Shape::Object });
            tools.push(Arc::new(OperationTool {
                spec: ToolSpec {
                    service: self.id.clone(),
                    name: Arc::from(operation.name.as_str()),
                    version: version.clone(),
                    title: operation.title,
                    description: operation.description,
                    capabilities: operation.capabilities,
                    dependencies: Vec::new(),
                    input: Schema::new(operation.input),
                    output: operation.output.map(|output| Schema::new(output.schema)),
                    effects: operation.effects,
                    raw: None,
                },
                template: operation.template,
                target,
                shape,
                client: client.clone(),
                health: self.health.clone(),
            }));
        }
        let instructions = Some(lowered.title).filter(|title| !title.is_empty());
        Ok(Contents { tools, instructions, ..Contents::default() })
    }

    /// Whether credentials may go to `url` because the document says so. A document in a file is the operator's own. One
    /// from a URL may send credentials only to its own origin and to that of the configured `base_url`.
    fn trusts(&self, url: &Url) -> bool {
        self.location.scheme() == "file"
            || url.origin() == self.location.origin()
            || self.base_url.as_ref().is_some_and(|base| base.origin() == url.origin())
    }

    fn target(
        &self,
        operation: &Operation,
        credentials: &mut Credentials<'_>,
    ) -> Result<Option<Target>, Error> {
        let Some(base) = self.base_url.as_ref().or(operation.base.as_ref()) else { return Ok(None) };
        let trusted = self.trusts(base);
        let security = if trusted {
            credentials.choose(&operation.security)?
        } else {
            let missing = format!(
                "{base} is not of the origin of the document, so no credentials go there; set `base_url` of the \
                 service if that is right"
            );
            Security { proofs: Vec::new(), missing: Some(missing) }
        };
        let headers = if trusted { self.headers.clone() } else { Arc::default() };
        Ok(Some(Target { base: server::prefix(base), headers, security }))
    }
}

impl Service for OpenApi {
    fn id(&self) -> &ServiceId {
        &self.id
    }

    fn status(&self) -> ServiceStatus {
        self.health.status()
    }

    fn contents(&self) -> Arc<Contents> {
        self.contents.read().clone()
    }

    fn request<'a>(
        &'a self,
        call: &'a Call,
        _context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Outcome, Failure>> {
        Box::pin(async { Err(Error::ToolsOnly(call.operation.method()).into()) })
    }

    fn subscribe<'a>(&'a self, _uri: &'a str, _on: bool) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async { Err(Error::ToolsOnly("resources/subscribe").into()) })
    }
}
