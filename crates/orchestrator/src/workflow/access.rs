//! How things elsewhere are reached: endpoints, external resources, and what proves who asks.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::flow::Transform;
use super::node::{Members, Node, marked};
use crate::expression::Expression;

/// Where something is.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its URI.
    pub uri: Uri,
    /// How to prove who asks.
    pub authentication: Option<AuthenticationRef>,
}

/// A URI, as far as it is known.
#[derive(Clone, Debug)]
pub enum Uri {
    /// A URI, or a URI template (RFC 6570) whose variables are members of the task's input.
    Template(Arc<str>),
    /// It is computed.
    Expression(Expression),
}

/// A document that a workflow refers to.
#[derive(Clone, Debug)]
pub struct ExternalResource {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// An authentication policy, written where it is used or in `use.authentications`;
/// [`super::Workflow::authentication_of`] finds it.
#[derive(Clone, Debug)]
pub enum AuthenticationRef {
    /// Written here.
    Inline(Arc<Authentication>),
    /// An entry of `use.authentications`.
    Named(Arc<str>),
}

/// How to prove who asks.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// HTTP Basic (RFC 7617).
    Basic(Credentials<Login>),
    /// A bearer token (RFC 6750).
    Bearer(Credentials<Sensitive>),
    /// HTTP Digest (RFC 7616).
    Digest(Credentials<Login>),
    /// OAuth 2.0 (RFC 6749).
    OAuth2(Credentials<Box<OAuth2>>),
    /// OpenID Connect: as OAuth 2.0, with the endpoints that the authority publishes.
    Oidc(Credentials<Box<OAuth2>>),
}

/// Credentials, written down or kept as a secret.
#[derive(Clone, Debug)]
pub enum Credentials<T> {
    /// Written down, or computed.
    Inline(T),
    /// The secret of this name holds them, as an object of the same members.
    Secret(Arc<str>),
}

/// A user's name and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// The name.
    pub username: Transform,
    /// The password.
    pub password: Sensitive,
}

/// A value that must not be shown.
#[derive(Clone)]
pub struct Sensitive(Transform);

impl Sensitive {
    /// What it is computed from.
    #[must_use]
    pub fn expose(&self) -> &Transform {
        &self.0
    }
}

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What an OAuth 2.0 token is asked for with.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// The authority's URI.
    pub authority: Uri,
    /// The grant type.
    pub grant: Arc<str>,
    /// The path of the token endpoint below the authority; `/oauth2/token` unless given. Not used for OpenID Connect.
    pub token_endpoint: Option<Arc<str>>,
    /// The client's id.
    pub client_id: Option<Transform>,
    /// The client's secret.
    pub client_secret: Option<Sensitive>,
    /// A signed assertion (RFC 7523).
    pub client_assertion: Option<Sensitive>,
    /// How the client proves who it is; `client_secret_post` unless given.
    pub client_authentication: Option<Arc<str>>,
    /// Whether the request is JSON instead of a form.
    pub json_request: bool,
    /// The issuers that are trusted.
    pub issuers: Vec<Arc<str>>,
    /// The scopes to ask for.
    pub scopes: Vec<Arc<str>>,
    /// The audiences to ask for.
    pub audiences: Vec<Arc<str>>,
    /// The user's name, for the grant `password`.
    pub username: Option<Transform>,
    /// The user's password, for the grant `password`.
    pub password: Option<Sensitive>,
    /// On whose behalf the token is asked for (RFC 8693): the token and its type.
    pub subject: Option<(Sensitive, Transform)>,
    /// Who acts (RFC 8693): the token and its type.
    pub actor: Option<(Sensitive, Transform)>,
}

pub(super) fn endpoint(node: Node<'_>) -> Option<Endpoint> {
    if node.value().is_string() {
        return uri(node).map(|uri| Endpoint { uri, authentication: None });
    }
    if !node.value().is_object() {
        return node.unexpected("a URI, an expression in ${ }, or an object with a uri");
    }
    let members = node.object()?;
    let uri = members.required("uri", "a URI, or an expression in ${ }", uri);
    let authentication = members.optional("authentication", authentication_ref);
    members.finish();
    Some(Endpoint { uri: uri?, authentication })
}

pub(super) fn uri(node: Node<'_>) -> Option<Uri> {
    let text = node.text()?;
    if let Some(expression) = marked(text) {
        return Some(Uri::Expression(Expression::new(expression)));
    }
    if text.is_empty() || text.contains(char::is_whitespace) {
        return node.unexpected("a URI, or an expression in ${ }");
    }
    Some(Uri::Template(Arc::from(text)))
}

pub(super) fn resource(node: Node<'_>) -> Option<ExternalResource> {
    let members = node.object()?;
    let name = members.optional("name", Node::name);
    let endpoint = members.required("endpoint", "a URI, or an object with a uri", endpoint);
    members.finish();
    Some(ExternalResource { name, endpoint: endpoint? })
}

pub(super) fn authentication_ref(node: Node<'_>) -> Option<AuthenticationRef> {
    if node.value().get("use").is_none() {
        return authentication(node).map(|policy| AuthenticationRef::Inline(Arc::new(policy)));
    }
    let members = node.object()?;
    let name = members.optional("use", |name| name.component("authentications"));
    members.finish();
    name.map(AuthenticationRef::Named)
}

pub(super) fn authentication(node: Node<'_>) -> Option<Authentication> {
    let members = node.object()?;
    let policy = match members.exactly_one(&["basic", "bearer", "digest", "oauth2", "oidc"]) {
        Some("basic") => {
            members.optional("basic", |node| credentials(node, login)).map(Authentication::Basic)
        }
        Some("bearer") => members
            .optional("bearer", |node| {
                credentials(node, |bearer| bearer.required("token", "the token", sensitive))
            })
            .map(Authentication::Bearer),
        Some("digest") => {
            members.optional("digest", |node| credentials(node, login)).map(Authentication::Digest)
        }
        Some("oauth2") => {
            members.optional("oauth2", |node| credentials(node, oauth2)).map(Authentication::OAuth2)
        }
        Some(_) => members.optional("oidc", |node| credentials(node, oauth2)).map(Authentication::Oidc),
        None => None,
    };
    members.finish();
    policy
}

fn credentials<T>(node: Node<'_>, read: impl FnOnce(&Members<'_>) -> Option<T>) -> Option<Credentials<T>> {
    let members = node.object()?;
    let found = if members.has("use") {
        members.optional("use", |name| name.component("secrets")).map(Credentials::Secret)
    } else {
        read(&members).map(Credentials::Inline)
    };
    members.finish();
    found
}

fn login(members: &Members<'_>) -> Option<Login> {
    let username = members.required("username", "the user's name", value);
    let password = members.required("password", "the password", sensitive);
    Some(Login { username: username?, password: password? })
}

fn value(node: Node<'_>) -> Option<Transform> {
    node.text().map(|_| Transform::of(node.value()))
}

/// Reads without ever showing what was found.
fn sensitive(node: Node<'_>) -> Option<Sensitive> {
    if !node.value().is_string() {
        node.note(|| {
            crate::check::Finding::error("", "this is not text").expected("text, or an expression in ${ }")
        });
        return None;
    }
    Some(Sensitive(Transform::of(node.value())))
}

const GRANTS: [(&str, &str); 5] = [
    ("authorization_code", "authorization_code"),
    ("client_credentials", "client_credentials"),
    ("password", "password"),
    ("refresh_token", "refresh_token"),
    ("urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:token-exchange"),
];

const CLIENT_AUTHENTICATIONS: [(&str, &str); 5] = [
    ("client_secret_basic", "client_secret_basic"),
    ("client_secret_post", "client_secret_post"),
    ("client_secret_jwt", "client_secret_jwt"),
    ("private_key_jwt", "private_key_jwt"),
    ("none", "none"),
];

fn oauth2(members: &Members<'_>) -> Option<Box<OAuth2>> {
    let authority = members.required("authority", "the authority's URI", uri);
    let grant = members.required("grant", "the grant type", |node| node.one_of(&GRANTS));
    let token_endpoint = members
        .optional("endpoints", |node| {
            let endpoints = node.object()?;
            let token = endpoints.optional("token", Node::name);
            let _ = (
                endpoints.optional("revocation", Node::name),
                endpoints.optional("introspection", Node::name),
            );
            endpoints.finish();
            Some(token)
        })
        .flatten();
    let (client_id, client_secret, client_assertion, client_authentication) =
        members.optional("client", client).unwrap_or_default();
    let json_request = members
        .optional("request", |node| {
            let request = node.object()?;
            let words = [("application/x-www-form-urlencoded", false), ("application/json", true)];
            let json = request.optional("encoding", |node| node.one_of(&words));
            request.finish();
            json
        })
        .unwrap_or(false);
    let names =
        |name| members.optional(name, |node: Node<'_>| node.list(|item| item.name())).unwrap_or_default();
    let (issuers, scopes, audiences) = (names("issuers"), names("scopes"), names("audiences"));
    let username = members.optional("username", value);
    let password = members.optional("password", sensitive);
    let (subject, actor) = (members.optional("subject", token), members.optional("actor", token));
    Some(Box::new(OAuth2 {
        authority: authority?,
        grant: Arc::from(grant?),
        token_endpoint,
        client_id,
        client_secret,
        client_assertion,
        client_authentication,
        json_request,
        issuers,
        scopes,
        audiences,
        username,
        password,
        subject,
        actor,
    }))
}

type Client = (Option<Transform>, Option<Sensitive>, Option<Sensitive>, Option<Arc<str>>);

fn client(node: Node<'_>) -> Option<Client> {
    let members = node.object()?;
    let id = members.optional("id", value);
    let (secret, assertion) =
        (members.optional("secret", sensitive), members.optional("assertion", sensitive));
    let authentication = members.optional("authentication", |node| node.one_of(&CLIENT_AUTHENTICATIONS));
    members.finish();
    Some((id, secret, assertion, authentication.map(Arc::from)))
}

fn token(node: Node<'_>) -> Option<(Sensitive, Transform)> {
    let members = node.object()?;
    let token = members.required("token", "the token", sensitive);
    let kind = members.required("type", "the token's type", value);
    members.finish();
    token.zip(kind)
}

/// A name or expression, as text.
pub(super) fn text(node: Node<'_>) -> Option<Transform> {
    match node.value() {
        Value::String(_) => Some(Transform::of(node.value())),
        _ => node.unexpected("text, or an expression in ${ }"),
    }
}
