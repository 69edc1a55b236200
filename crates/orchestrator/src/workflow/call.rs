//! Call tasks: what is called, and with what.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::expression::{Expression, Template};

use super::access::{self, AuthenticationRef, Endpoint, ExternalResource};
use super::duration::{self, DurationOf};
use super::events::{self, ForEach};
use super::flow::{Transform, map_or_expression, optional_map};
use super::node::{Members, Node};

/// What is called.
#[derive(Clone, Debug)]
pub enum CallTask {
    /// An HTTP request.
    Http(HttpCall),
    /// An operation of an OpenAPI document.
    OpenApi(OpenApiCall),
    /// A method of a gRPC service.
    Grpc(GrpcCall),
    /// An operation of an AsyncAPI document.
    AsyncApi(Box<AsyncApiCall>),
    /// An agent, by the A2A protocol.
    A2a(A2aCall),
    /// A server, by the Model Context Protocol.
    Mcp(McpCall),
    /// A function of `use.functions` or of a catalogue, or a tool of the gateway.
    Function {
        /// Its name; `name:version@catalog` or a URI for one of a catalogue.
        name: Arc<str>,
        /// The arguments.
        with: Template,
    },
}

/// What an HTTP or OpenAPI call gives out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpOutput {
    /// The body's bytes, as base64.
    Raw,
    /// The body, decoded by its content type.
    #[default]
    Content,
    /// The request, the status, the headers and the decoded body.
    Response,
}

/// An HTTP request.
#[derive(Clone, Debug)]
pub struct HttpCall {
    /// The method, as written.
    pub method: Arc<str>,
    /// Where to.
    pub endpoint: Endpoint,
    /// The headers.
    pub headers: Option<Transform>,
    /// The body.
    pub body: Option<Transform>,
    /// The query parameters.
    pub query: Option<Transform>,
    /// What it gives out.
    pub output: HttpOutput,
    /// Whether a status of 300 to 399 is a result, and not an error.
    pub redirect: bool,
}

/// An operation of an OpenAPI document.
#[derive(Clone, Debug)]
pub struct OpenApiCall {
    /// The document.
    pub document: ExternalResource,
    /// The operation.
    pub operation_id: Arc<str>,
    /// Its parameters.
    pub parameters: Option<Template>,
    /// How to prove who asks.
    pub authentication: Option<AuthenticationRef>,
    /// What it gives out.
    pub output: HttpOutput,
    /// Whether a status of 300 to 399 is a result, and not an error.
    pub redirect: bool,
}

/// A method of a gRPC service.
#[derive(Clone, Debug)]
pub struct GrpcCall {
    /// The service's description.
    pub proto: ExternalResource,
    /// The service's name.
    pub service: Arc<str>,
    /// Its host.
    pub host: Arc<str>,
    /// Its port.
    pub port: Option<u16>,
    /// How to prove who asks.
    pub authentication: Option<AuthenticationRef>,
    /// The method.
    pub method: Arc<str>,
    /// Its arguments.
    pub arguments: Option<Template>,
}

/// An operation of an AsyncAPI document.
#[derive(Clone, Debug)]
pub struct AsyncApiCall {
    /// The document.
    pub document: ExternalResource,
    /// The operation (AsyncAPI 3), or else the channel (AsyncAPI 2).
    pub operation: Option<Arc<str>>,
    /// The channel (AsyncAPI 2).
    pub channel: Option<Arc<str>>,
    /// The server's name, and its variables.
    pub server: Option<(Arc<str>, Option<Template>)>,
    /// The protocol that chooses the server.
    pub protocol: Option<Arc<str>>,
    /// What is published or awaited.
    pub exchange: AsyncApiExchange,
    /// How to prove who asks.
    pub authentication: Option<AuthenticationRef>,
}

/// What an AsyncAPI call does.
#[derive(Clone, Debug)]
pub enum AsyncApiExchange {
    /// It publishes a message.
    Publish {
        /// The payload.
        payload: Option<Template>,
        /// The headers.
        headers: Option<Template>,
    },
    /// It consumes messages.
    Subscribe {
        /// Which messages.
        filter: Option<Expression>,
        /// For how long.
        period: Option<DurationOf>,
        /// Until when.
        consume: Consume,
        /// What is done with each.
        foreach: Option<Box<ForEach>>,
    },
}

/// How many messages a subscription consumes.
#[derive(Clone, Debug)]
pub enum Consume {
    /// This many.
    Amount(u64),
    /// As long as this holds after a message.
    While(Expression),
    /// Until this holds before a message.
    Until(Expression),
}

/// A request to an agent.
#[derive(Clone, Debug)]
pub struct A2aCall {
    /// The agent's card.
    pub agent_card: Option<ExternalResource>,
    /// The agent's address.
    pub server: Option<Endpoint>,
    /// The method.
    pub method: Arc<str>,
    /// Its parameters.
    pub parameters: Option<Transform>,
}

/// A request to an MCP server.
#[derive(Clone, Debug)]
pub struct McpCall {
    /// The revision of the protocol.
    pub protocol_version: Option<Arc<str>>,
    /// The method.
    pub method: Arc<str>,
    /// Its parameters.
    pub parameters: Option<Transform>,
    /// How long it may take.
    pub timeout: Option<DurationOf>,
    /// How the server is reached.
    pub transport: McpTransport,
    /// The client's name and version, as told to the server.
    pub client: Option<(Arc<str>, Arc<str>)>,
}

/// How an MCP server is reached.
#[derive(Clone, Debug)]
pub enum McpTransport {
    /// By streamable HTTP.
    Http {
        /// Where.
        endpoint: Endpoint,
        /// Headers of every request.
        headers: Option<Template>,
    },
    /// As a process.
    Stdio {
        /// The command.
        command: Transform,
        /// Its arguments.
        arguments: Vec<Transform>,
        /// Its environment.
        environment: Option<Template>,
    },
}

/// The kinds of call that the language itself knows; any other name is that of a function or tool.
pub const CALL_KINDS: [&str; 6] = ["asyncapi", "grpc", "http", "openapi", "a2a", "mcp"];

pub(super) fn read(members: &Members<'_>) -> Option<CallTask> {
    let name = members.required("call", "what is called", Node::name)?;
    let required = |read: fn(&Members<'_>) -> Option<CallTask>| {
        members.required("with", "the arguments of the call", |node| {
            let with = node.object()?;
            let call = read(&with);
            with.finish();
            call
        })
    };
    match &*name {
        "http" => required(http),
        "openapi" => required(openapi),
        "grpc" => required(grpc),
        "asyncapi" => required(asyncapi),
        "a2a" => required(a2a),
        "mcp" => required(mcp),
        _ => {
            let with = match members.get("with") {
                Some(with) => with.map()?,
                None => Map::new(),
            };
            Some(CallTask::Function { name, with: Template::new(Value::Object(with)) })
        }
    }
}

fn http(with: &Members<'_>) -> Option<CallTask> {
    let method = with.required("method", "the HTTP method", Node::name);
    let endpoint = with.required("endpoint", "a URI, or an object with a uri", access::endpoint);
    let headers = with.optional("headers", map_or_expression);
    let body = with.get("body").map(|body| Transform::of(body.value()));
    let query = with.optional("query", map_or_expression);
    let (output, redirect) = output_and_redirect(with);
    Some(CallTask::Http(HttpCall {
        method: method?,
        endpoint: endpoint?,
        headers,
        body,
        query,
        output,
        redirect,
    }))
}

fn output_and_redirect(with: &Members<'_>) -> (HttpOutput, bool) {
    let words =
        [("raw", HttpOutput::Raw), ("content", HttpOutput::Content), ("response", HttpOutput::Response)];
    let output = with.optional("output", |node| node.one_of(&words)).unwrap_or_default();
    (output, with.optional("redirect", Node::boolean).unwrap_or(false))
}

fn openapi(with: &Members<'_>) -> Option<CallTask> {
    let document = with.required("document", "an object with the document's endpoint", access::resource);
    let operation_id = with.required("operationId", "the operation's id", Node::name);
    let parameters = optional_map(with, "parameters");
    let authentication = with.optional("authentication", access::authentication_ref);
    let (output, redirect) = output_and_redirect(with);
    Some(CallTask::OpenApi(OpenApiCall {
        document: document?,
        operation_id: operation_id?,
        parameters,
        authentication,
        output,
        redirect,
    }))
}

fn grpc(with: &Members<'_>) -> Option<CallTask> {
    let proto = with.required("proto", "an object with the description's endpoint", access::resource);
    let service = with.required("service", "an object with the service's name and host", |node| {
        let service = node.object()?;
        let name = service.required("name", "the service's name", Node::name);
        let host = service.required("host", "the service's host", Node::name);
        let port = service.optional("port", |node| {
            let port = node.value().as_u64().and_then(|port| u16::try_from(port).ok());
            port.or_else(|| node.unexpected("a port, 0 to 65535"))
        });
        let authentication = service.optional("authentication", access::authentication_ref);
        service.finish();
        Some((name?, host?, port, authentication))
    });
    let method = with.required("method", "the method's name", Node::name);
    let arguments = optional_map(with, "arguments");
    let (service, host, port, authentication) = service?;
    Some(CallTask::Grpc(GrpcCall {
        proto: proto?,
        service,
        host,
        port,
        authentication,
        method: method?,
        arguments,
    }))
}

const PROTOCOLS: [(&str, &str); 19] = [
    ("amqp", "amqp"),
    ("amqp1", "amqp1"),
    ("anypointmq", "anypointmq"),
    ("googlepubsub", "googlepubsub"),
    ("http", "http"),
    ("ibmmq", "ibmmq"),
    ("jms", "jms"),
    ("kafka", "kafka"),
    ("mercure", "mercure"),
    ("mqtt", "mqtt"),
    ("mqtt5", "mqtt5"),
    ("nats", "nats"),
    ("pulsar", "pulsar"),
    ("redis", "redis"),
    ("sns", "sns"),
    ("solace", "solace"),
    ("sqs", "sqs"),
    ("stomp", "stomp"),
    ("ws", "ws"),
];

fn asyncapi(with: &Members<'_>) -> Option<CallTask> {
    let document = with.required("document", "an object with the document's endpoint", access::resource);
    let (operation, channel) = (with.optional("operation", Node::name), with.optional("channel", Node::name));
    with.exactly_one(&["operation", "channel"])?;
    let server = with.optional("server", |node| {
        let server = node.object()?;
        let name = server.required("name", "the server's name", Node::name);
        let variables = optional_map(&server, "variables");
        server.finish();
        Some((name?, variables))
    });
    let protocol = with.optional("protocol", |node| node.one_of(&PROTOCOLS)).map(Arc::from);
    let exchange = match with.exactly_one(&["message", "subscription"]) {
        Some("message") => with.optional("message", |node| {
            let message = node.object()?;
            let (payload, headers) = (optional_map(&message, "payload"), optional_map(&message, "headers"));
            message.finish();
            Some(AsyncApiExchange::Publish { payload, headers })
        }),
        Some(_) => with.optional("subscription", subscription),
        None => None,
    };
    let authentication = with.optional("authentication", access::authentication_ref);
    Some(CallTask::AsyncApi(Box::new(AsyncApiCall {
        document: document?,
        operation,
        channel,
        server,
        protocol,
        exchange: exchange?,
        authentication,
    })))
}

fn subscription(node: Node<'_>) -> Option<AsyncApiExchange> {
    let members = node.object()?;
    let filter = members.optional("filter", Node::expression);
    let consume = members.required("consume", "how many messages are consumed", |node| {
        let consume = node.object()?;
        let period = consume.optional("for", duration::read);
        let policy = match consume.exactly_one(&["amount", "while", "until"]) {
            Some("amount") => consume.optional("amount", Node::whole_number).map(Consume::Amount),
            Some("while") => consume.optional("while", Node::expression).map(Consume::While),
            Some(_) => consume.optional("until", Node::expression).map(Consume::Until),
            None => None,
        };
        consume.finish();
        Some((period, policy?))
    });
    let foreach = members.optional("foreach", events::iterator);
    members.finish();
    let (period, consume) = consume?;
    Some(AsyncApiExchange::Subscribe { filter, period, consume, foreach: foreach.map(Box::new) })
}

const A2A_METHODS: [&str; 11] = [
    "message/send",
    "message/stream",
    "tasks/get",
    "tasks/list",
    "tasks/cancel",
    "tasks/resubscribe",
    "tasks/pushNotificationConfig/set",
    "tasks/pushNotificationConfig/get",
    "tasks/pushNotificationConfig/list",
    "tasks/pushNotificationConfig/delete",
    "agent/getAuthenticatedExtendedCard",
];

const MCP_METHODS: [&str; 7] = [
    "tools/list",
    "tools/call",
    "prompts/list",
    "prompts/get",
    "resources/list",
    "resources/read",
    "resources/templates/list",
];

fn method(with: &Members<'_>, methods: &[&'static str]) -> Option<Arc<str>> {
    let words: Vec<(&'static str, &'static str)> = methods.iter().map(|name| (*name, *name)).collect();
    with.required("method", "the method's name", |node| node.one_of(&words)).map(Arc::from)
}

fn a2a(with: &Members<'_>) -> Option<CallTask> {
    let agent_card = with.optional("agentCard", access::resource);
    let server = with.optional("server", access::endpoint);
    let method = method(with, &A2A_METHODS);
    let parameters = with.optional("parameters", map_or_expression);
    Some(CallTask::A2a(A2aCall { agent_card, server, method: method?, parameters }))
}

fn mcp(with: &Members<'_>) -> Option<CallTask> {
    let protocol_version = with.optional("protocolVersion", Node::name);
    let method = method(with, &MCP_METHODS);
    let parameters = with.optional("parameters", map_or_expression);
    let timeout = with.optional("timeout", duration::read);
    let transport = with.required("transport", "an object with http or stdio", mcp_transport);
    let client = with.optional("client", |node| {
        let client = node.object()?;
        let name = client.required("name", "the client's name", Node::name);
        let version = client.required("version", "the client's version", Node::name);
        client.finish();
        name.zip(version)
    });
    Some(CallTask::Mcp(McpCall {
        protocol_version,
        method: method?,
        parameters,
        timeout,
        transport: transport?,
        client,
    }))
}

fn mcp_transport(node: Node<'_>) -> Option<McpTransport> {
    let members = node.object()?;
    let transport = match members.exactly_one(&["http", "stdio"]) {
        Some("http") => members.optional("http", |node| {
            let http = node.object()?;
            let endpoint = http.required("endpoint", "the server's URI", access::endpoint);
            let headers = optional_map(&http, "headers");
            http.finish();
            Some(McpTransport::Http { endpoint: endpoint?, headers })
        }),
        Some(_) => members.optional("stdio", |node| {
            let stdio = node.object()?;
            let command = stdio.required("command", "the command that starts the server", access::text);
            let arguments = stdio.optional("arguments", |node| node.list(access::text)).unwrap_or_default();
            let environment = optional_map(&stdio, "environment");
            stdio.finish();
            Some(McpTransport::Stdio { command: command?, arguments, environment })
        }),
        None => None,
    };
    let _ = optional_map(&members, "options");
    members.finish();
    transport
}
