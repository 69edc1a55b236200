//! One operation of a document, asked without a service around it: what a workflow does that names its document itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value};
use trunkline_model::Json;
use url::Url;

use crate::Error;

use super::config::Config;
use super::document::Document;
use super::lower::{Lowered, lower};
use super::request::Prepared;
use super::server;

/// A request that an operation and its parameters make. It has no credentials.
#[derive(Debug)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Where it goes: nobody has looked yet whether it may go there.
    pub url: Url,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The request that the operation `id` makes of `parameters`, each by its name in the document; the body is `body`.
///
/// # Errors
/// [`Error::Argument`] where there is no such operation or parameter or one can't be sent, [`Error::NoServer`] where the
/// document does not say where to ask.
pub fn request(document: &Document, id: &str, parameters: &Map<String, Value>) -> Result<Request, Error> {
    let wrong = |argument: &str, cause: String| Error::Argument { argument: argument.to_owned(), cause };
    if id.contains('*') {
        return Err(wrong("operationId", format!("{id:?} is a pattern, and one operation is meant")));
    }
    let config = Config { include: vec![id.to_owned()], ..Config::default() };
    let Lowered { operations, left_out, .. } = lower(document, &config);
    let Some(operation) = operations.into_iter().next() else {
        let why = left_out.into_iter().find(|left| !left.reason.starts_with("`include`"));
        let why =
            why.map_or_else(String::new, |left| format!("; {} is left out: {}", left.operation, left.reason));
        return Err(wrong("operationId", format!("the document has no operation {id:?}{why}")));
    };
    let template = operation.template;
    let mut arguments = Map::new();
    for (name, value) in parameters {
        let Some(argument) = template.argument_of(name) else {
            let known = template.argument_names().collect::<Vec<_>>().join(", ");
            return Err(wrong(name, format!("the operation {id} has no such parameter; it has: {known}")));
        };
        arguments.insert(argument.to_owned(), value.clone());
    }
    let prepared = template.prepare(&Json::from_value(&Value::Object(arguments)))?;
    let Prepared { target, mut headers, cookie, body } = prepared;
    let base = server::prefix(&operation.base.ok_or(Error::NoServer)?);
    let url = Url::parse(&format!("{base}{target}"))
        .map_err(|error| Error::OpenApiConfig(format!("{base} makes no URL that can be asked: {error}")))?;
    if !cookie.is_empty() {
        let cookie = HeaderValue::from_str(&cookie)
            .map_err(|_| wrong("cookie", "it has characters that HTTP can't carry".to_owned()))?;
        headers.insert(header::COOKIE, cookie);
    }
    Ok(Request { method: template.method, url, headers, body })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(id: &str, parameters: &Value) -> Result<Request, Error> {
        let document = Document::of_value(json!({
            "openapi": "3.1.0", "info": {"title": "t", "version": "1"},
            "servers": [{"url": "https://api.example/v1"}],
            "paths": {
                "/pets/{id}": {"get": {"operationId": "getPet", "parameters": [
                    {"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}},
                    {"name": "X Y", "in": "query", "schema": {"type": "string"}},
                ]}},
                "/pets": {"post": {"operationId": "addPet", "requestBody": {"required": true, "content":
                    {"application/json": {"schema": {"type": "object"}}}}}},
            },
        }));
        request(&document, id, parameters.as_object().unwrap())
    }

    #[test]
    fn parameters_go_by_the_name_that_the_document_has_for_them() {
        let get = ask("getPet", &json!({"id": 7, "X Y": "a b"})).unwrap();
        assert_eq!(
            (get.method, get.url.as_str()),
            (Method::GET, "https://api.example/v1/pets/7?X%20Y=a%20b")
        );
        let post = ask("addPet", &json!({"body": {"name": "Milou"}})).unwrap();
        assert_eq!((post.method, &*post.body), (Method::POST, br#"{"name":"Milou"}"#.as_slice()));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let error = ask("getPat", &json!({})).unwrap_err().to_string();
        assert!(error.contains("no operation \"getPat\""), "{error}");
        let error = ask("getPet", &json!({"id": 7, "name": 1})).unwrap_err().to_string();
        assert!(error.contains("no such parameter; it has: id, X_Y"), "{error}");
        assert!(ask("get*", &json!({})).is_err());
    }
}
