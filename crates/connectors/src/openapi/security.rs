//! Security schemes: which of an operation's alternatives the configured credentials fulfil, and what they add to a
//! request.
//!
//! `security` is a list of alternatives, each a set of schemes that are needed together. The first alternative that
//! the credentials fulfil is used. Where none is fulfilled the request goes without credentials, and a refusal by
//! the service says what is missing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, header};
use indexmap::IndexMap;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::Error;
use crate::http_client::HttpClient;

use super::config::{Config, Credential};
use super::document::Document;
use super::parameters::Location;
use super::reference::Node;
use super::token::TokenSource;

/// A security scheme of a document.
#[derive(Clone, Debug)]
pub(super) enum Scheme {
    ApiKey {
        location: Location,
        name: String,
    },
    Bearer,
    Basic,
    /// `oauth2`, with the token endpoint of its client credentials flow where it has one.
    OAuth2 {
        token_url: Option<Url>,
    },
    OpenIdConnect,
    /// One that can't be used, and why.
    Unsupported(String),
}

/// A scheme that an operation needs, with the scopes it needs there.
#[derive(Clone, Debug)]
pub(super) struct Requirement {
    pub(super) scheme: String,
    pub(super) scopes: Vec<String>,
}

/// The schemes of a document by name.
pub(super) fn schemes(document: &Document, warnings: &mut Vec<String>) -> IndexMap<String, Scheme> {
    let top = document.top();
    let container = top
        .get("securityDefinitions")
        .or_else(|| top.get("components").and_then(|components| components.get("securitySchemes")));
    let mut out = IndexMap::new();
    for (name, node) in container.into_iter().flat_map(Node::members) {
        match document.follow(node) {
            Ok(node) => {
                let scheme = scheme(document, node);
                if let Scheme::Unsupported(cause) = &scheme {
                    warnings.push(format!("security scheme {name}: {cause}"));
                }
                out.insert(name.to_owned(), scheme);
            }
            Err(cause) => warnings.push(format!("security scheme {name}: {cause}")),
        }
    }
    out
}

fn scheme(document: &Document, node: Node<'_>) -> Scheme {
    let unsupported = |cause: String| Scheme::Unsupported(cause);
    match node.text("type").unwrap_or_default() {
        "apiKey" => {
            let location = match node.text("in") {
                Some("query") => Location::Query,
                Some("cookie") => Location::Cookie,
                Some("header") => Location::Header,
                other => return unsupported(format!("an API key in {other:?} is not known")),
            };
            match node.text("name") {
                Some(name) => Scheme::ApiKey { location, name: name.to_owned() },
                None => unsupported("it has no `name`".to_owned()),
            }
        }
        "http" => match node.text("scheme").unwrap_or_default().to_ascii_lowercase().as_str() {
            "basic" => Scheme::Basic,
            "bearer" => Scheme::Bearer,
            other => unsupported(format!("the HTTP scheme {other:?} is not supported")),
        },
        "basic" => Scheme::Basic,
        "oauth2" => {
            let flow = match node.text("flow") {
                Some("application") => Some(node),
                Some(_) => None,
                None => node.get("flows").and_then(|flows| flows.get("clientCredentials")),
            };
            let token_url = flow.and_then(|flow| {
                let base = document.url(node.part);
                flow.text("tokenUrl").and_then(|url| base.join(url).ok())
            });
            Scheme::OAuth2 { token_url }
        }
        "openIdConnect" => Scheme::OpenIdConnect,
        other => unsupported(format!("the type {other:?} is not supported")),
    }
}

/// The alternatives of an operation, or of the whole document where the operation states none.
pub(super) fn alternatives(document: &Document, operation: Node<'_>) -> Vec<Vec<Requirement>> {
    let Some(list) = operation.get("security").or_else(|| document.top().get("security")) else {
        return Vec::new();
    };
    list.items()
        .map(|alternative| {
            alternative
                .members()
                .map(|(scheme, scopes)| Requirement {
                    scheme: scheme.to_owned(),
                    scopes: scopes
                        .items()
                        .filter_map(|scope| scope.value.as_str())
                        .map(str::to_owned)
                        .collect(),
                })
                .collect()
        })
        .collect()
}

/// What a credential adds to a request.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    Header(HeaderName, HeaderValue),
    /// An encoded `name=value` pair.
    Query(String),
    /// An encoded `name=value` pair.
    Cookie(String),
    /// A token from a token endpoint.
    Token(Arc<TokenSource>),
}

/// What an operation's requests carry.
#[derive(Clone, Debug, Default)]
pub(super) struct Security {
    pub(super) proofs: Vec<Proof>,
    /// What to configure, where no alternative is fulfilled.
    pub(super) missing: Option<String>,
}

/// Turns configured credentials into proofs. Token sources are shared between operations that ask for the same scopes.
pub(super) struct Credentials<'a> {
    config: &'a Config,
    schemes: &'a IndexMap<String, Scheme>,
    /// Whether the document may name the token endpoint: one from a URL may not send our secret to another origin.
    trusted: Box<dyn Fn(&Url) -> bool + 'a>,
    http: HttpClient,
    sources: IndexMap<(String, String), Arc<TokenSource>>,
}

impl<'a> Credentials<'a> {
    pub(super) fn new(
        config: &'a Config,
        schemes: &'a IndexMap<String, Scheme>,
        trusted: impl Fn(&Url) -> bool + 'a,
        http: HttpClient,
    ) -> Self {
        Self { config, schemes, trusted: Box::new(trusted), http, sources: IndexMap::new() }
    }

    /// The first alternative that is fulfilled.
    ///
    /// # Errors
    /// A credential that can't be put into a request.
    pub(super) fn choose(&mut self, alternatives: &[Vec<Requirement>]) -> Result<Security, Error> {
        let mut missing = Vec::new();
        let mut open = alternatives.is_empty();
        for alternative in alternatives {
            if alternative.is_empty() {
                // Without credentials only if no later alternative is fulfilled: a known caller may see more.
                open = true;
                continue;
            }
            let mut proofs = Vec::new();
            let mut lacking = None;
            for requirement in alternative {
                match self.proof(requirement)? {
                    Ok(proof) => proofs.push(proof),
                    Err(what) => lacking = Some(what),
                }
            }
            match lacking {
                None => return Ok(Security { proofs, missing: None }),
                Some(what) => missing.push(what),
            }
        }
        missing.dedup();
        let missing = (!open && !missing.is_empty()).then(|| missing.join("; or "));
        Ok(Security { proofs: Vec::new(), missing })
    }

    /// A proof, or what is missing for it.
    fn proof(&mut self, requirement: &Requirement) -> Result<Result<Proof, String>, Error> {
        let name = &requirement.scheme;
        let config = self.config;
        let lacks = |member: &str| Ok(Err(format!("set `credentials.{name}.{member}` of the service")));
        let Some(scheme) = self.schemes.get(name) else {
            return Ok(Err(format!("the document does not define its security scheme {name}")));
        };
        let empty = Credential::default();
        let credential = config.credentials.get(name).unwrap_or(&empty);
        let invalid =
            || Error::OpenApiConfig(format!("`credentials.{name}` has characters that HTTP can't carry"));
        let bearer = |token: &str| -> Result<Proof, Error> {
            let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| invalid())?;
            value.set_sensitive(true);
            Ok(Proof::Header(header::AUTHORIZATION, value))
        };
        match scheme {
            Scheme::ApiKey { location, name: wire } => {
                let Some(key) = credential.key.as_ref() else { return lacks("key") };
                api_key(*location, wire, key.expose()).map(Ok).map_err(|_| invalid())
            }
            Scheme::Basic => {
                let Some(user) = credential.username.as_ref() else { return lacks("username") };
                let password = credential.password.as_ref().map_or("", |password| password.expose());
                let encoded = STANDARD.encode(format!("{user}:{password}"));
                let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
                    .map_err(|_| Error::OpenApiConfig(format!("`credentials.{name}` can't be sent")))?;
                value.set_sensitive(true);
                Ok(Ok(Proof::Header(header::AUTHORIZATION, value)))
            }
            Scheme::Bearer | Scheme::OpenIdConnect => match &credential.token {
                Some(token) => bearer(token.expose()).map(Ok),
                None => lacks("token"),
            },
            Scheme::OAuth2 { token_url } => match (&credential.token, &credential.client_id) {
                (Some(token), _) => bearer(token.expose()).map(Ok),
                (None, Some(_)) => self.token_source(requirement, credential, token_url.as_ref()),
                (None, None) => lacks("token` or `client_id"),
            },
            Scheme::Unsupported(cause) => Ok(Err(format!("security scheme {name}: {cause}"))),
        }
    }

    fn token_source(
        &mut self,
        requirement: &Requirement,
        credential: &Credential,
        stated: Option<&Url>,
    ) -> Result<Result<Proof, String>, Error> {
        let name = &requirement.scheme;
        let token_url = match (&credential.token_url, stated) {
            (Some(configured), _) => Url::parse(configured).map_err(|error| {
                Error::OpenApiConfig(format!("`credentials.{name}.token_url` {configured:?}: {error}"))
            })?,
            (None, Some(stated)) if (self.trusted)(stated) => stated.clone(),
            (None, Some(stated)) => {
                return Ok(Err(format!(
                    "the document sends credentials to {stated}, which is of another origin: set \
                     `credentials.{name}.token_url` if that is right"
                )));
            }
            (None, None) => return Ok(Err(format!("set `credentials.{name}.token_url` of the service"))),
        };
        let scopes = credential.scopes.as_ref().unwrap_or(&requirement.scopes).join(" ");
        let source = self.sources.entry((name.clone(), scopes.clone())).or_insert_with(|| {
            Arc::new(TokenSource::new(name, token_url, credential, scopes, self.http.clone()))
        });
        Ok(Ok(Proof::Token(source.clone())))
    }
}

fn api_key(location: Location, name: &str, key: &str) -> Result<Proof, http::Error> {
    let pair = || {
        format!(
            "{}={}",
            utf8_percent_encode(name, NON_ALPHANUMERIC),
            utf8_percent_encode(key, NON_ALPHANUMERIC)
        )
    };
    Ok(match location {
        Location::Query => Proof::Query(pair()),
        // Servers compare a cookie's text as it is, and keys are made of what cookies may hold.
        Location::Cookie => Proof::Cookie(format!("{name}={key}")),
        _ => {
            let mut value = HeaderValue::try_from(key)?;
            value.set_sensitive(true);
            Proof::Header(HeaderName::try_from(name)?, value)
        }
    })
}
