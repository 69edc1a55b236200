//! An OpenAPI document with every file it refers to: found, fetched, parsed, all within bounds.
//!
//! A file may refer to files and URLs. What comes from a URL may refer to URLs of its own origin only:
//! whoever serves it must not be able to make this process read local files or ask other hosts. No credentials are
//! ever sent to fetch a document, and no redirect to another origin is followed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::Value;
use trunkline_model::{Budget, DocumentError, Repeated, read_document};
use url::Url;

use crate::Error;
use crate::http_client::HttpClient;

use super::reference::Node;

/// The most values in all files together: what a 30 MB document holds.
const MAX_VALUES: usize = 4_000_000;

/// The most files that a document may be spread over.
const MAX_PARTS: usize = 10_000;

/// How long fetching a document with all it refers to may take.
const FETCH_TIME: Duration = Duration::from_secs(60);

/// The most redirects that are followed within an origin.
const MAX_REDIRECTS: usize = 5;

/// An OpenAPI document with every file it refers to.
#[derive(Debug)]
pub struct Document {
    parts: Vec<Part>,
    /// By URL without fragment: the file, or why it can't be had.
    index: HashMap<String, Result<usize, String>>,
}

#[derive(Debug)]
struct Part {
    url: Url,
    root: Value,
}

/// Where a document is: what `document` of the configuration means.
///
/// # Errors
/// It is neither a path nor an `http`, `https` or `file` URL.
pub fn location(document: &str, base_dir: &Path) -> Result<Url, Error> {
    if let Ok(url) = Url::parse(document)
        && matches!(url.scheme(), "http" | "https" | "file")
    {
        return Ok(url);
    }
    let path = std::path::absolute(base_dir.join(document))
        .map_err(|cause| Error::OpenApiConfig(format!("`document` {document:?}: {cause}")))?;
    Url::from_file_path(&path)
        .map_err(|()| Error::OpenApiConfig(format!("`document` {document:?} is neither a path nor a URL")))
}

impl Document {
    /// Reads the document at `location` and all it refers to, of at most `max_bytes` together. A referred file that
    /// can't be had is an error only where it is needed.
    ///
    /// # Errors
    /// The first file can't be read or is not an OpenAPI document, or all together are too large.
    pub async fn load(location: &Url, max_bytes: usize, http: &HttpClient) -> Result<Self, Error> {
        let deadline = Instant::now() + FETCH_TIME;
        let mut document = Self { parts: Vec::new(), index: HashMap::new() };
        let mut bytes_left = max_bytes;
        let mut values_left = MAX_VALUES;
        let mut wanted = vec![location.clone()];
        while let Some(mut url) = wanted.pop() {
            url.set_fragment(None);
            if document.index.contains_key(url.as_str()) {
                continue;
            }
            let first = document.parts.is_empty();
            if document.parts.len() >= MAX_PARTS {
                return Err(too_large(location, format!("it is spread over more than {MAX_PARTS} files")));
            }
            let read = async {
                let bytes = fetch(&url, bytes_left, max_bytes, deadline, http).await?;
                bytes_left -= bytes.len();
                parse_apart(url.clone(), bytes, values_left).await
            };
            match read.await {
                Ok((root, left)) => {
                    values_left = left;
                    let part = document.parts.len();
                    let mut references = Vec::new();
                    collect_references(&root, &url, false, &mut references);
                    wanted
                        .extend(references.into_iter().filter(|reference| allowed(&url, reference).is_ok()));
                    document.index.insert(url.to_string(), Ok(part));
                    document.parts.push(Part { url, root });
                }
                Err(error) if first || matches!(error, Error::DocumentTooLarge { .. }) => return Err(error),
                Err(error) => {
                    document.index.insert(url.to_string(), Err(error.to_string()));
                }
            }
        }
        document.check()?;
        Ok(document)
    }

    /// A document from text alone. Nothing it refers to elsewhere is read.
    ///
    /// # Errors
    /// It is not an OpenAPI document, or too large.
    pub fn parse(text: &[u8], url: Url) -> Result<Self, Error> {
        let (root, _) = parse_text(&url, text, MAX_VALUES)?;
        let index = HashMap::from([(url.to_string(), Ok(0))]);
        let document = Self { parts: vec![Part { url, root }], index };
        document.check()?;
        Ok(document)
    }

    #[cfg(test)]
    pub(super) fn of_value(root: Value) -> Self {
        let url = Url::parse("file:///openapi.json").unwrap();
        Self { index: HashMap::from([(url.to_string(), Ok(0))]), parts: vec![Part { url, root }] }
    }

    fn check(&self) -> Result<(), Error> {
        let root = self.top();
        let cause = match (root.get("openapi"), root.get("swagger")) {
            _ if !root.value.is_object() => "it is not an object".to_owned(),
            (None, None) => "it has neither `openapi` nor `swagger`".to_owned(),
            (Some(version), _) if !version.value.as_str().is_some_and(|v| v.starts_with("3.")) => {
                format!("the version of OpenAPI is {}, known are 3.0, 3.1 and 3.2", version.value)
            }
            // `swagger: 2.0` without quotes is a number in YAML.
            (None, Some(version)) if version.value.as_f64() != Some(2.0) && version.value != "2.0" => {
                format!("the version of Swagger is {}, known is 2.0", version.value)
            }
            _ => return Ok(()),
        };
        Err(Error::NotOpenApi { location: self.url(0).to_string(), cause })
    }

    /// The document's own root.
    pub(super) fn top(&self) -> Node<'_> {
        self.root(0)
    }

    /// The root of a file.
    pub(super) fn root(&self, part: usize) -> Node<'_> {
        Node { part, value: &self.parts[part].root }
    }

    /// Where a file is.
    pub(super) fn url(&self, part: usize) -> &Url {
        &self.parts[part].url
    }

    /// How many files the document is spread over.
    #[must_use]
    pub fn files(&self) -> usize {
        self.parts.len()
    }

    /// The file that `reference` means in file `from`.
    pub(super) fn part_of(&self, from: usize, reference: &str) -> Result<usize, String> {
        let url = self.parts[from].url.join(reference).map_err(|error| format!("{reference}: {error}"))?;
        allowed(&self.parts[from].url, &url).map_err(|cause| format!("{url}: {cause}"))?;
        match self.index.get(url.as_str()) {
            Some(Ok(part)) => Ok(*part),
            Some(Err(cause)) => Err(cause.clone()),
            None => Err(format!("{url} was not read")),
        }
    }
}

/// Whether the file at `from` may refer to `url`.
fn allowed(from: &Url, url: &Url) -> Result<(), &'static str> {
    match url.scheme() {
        "file" if from.scheme() == "file" => Ok(()),
        "http" | "https" if from.scheme() == "file" || from.origin() == url.origin() => Ok(()),
        "http" | "https" => Err("a document from a URL may refer only to documents of its own origin"),
        "file" => Err("a document from a URL may not refer to files"),
        _ => Err("only files and http(s) URLs are read"),
    }
}

fn too_large(url: &Url, cause: String) -> Error {
    Error::DocumentTooLarge { location: url.to_string(), cause }
}

async fn parse_apart(url: Url, bytes: Bytes, values: usize) -> Result<(Value, usize), Error> {
    let location = url.to_string();
    tokio::task::spawn_blocking(move || parse_text(&url, &bytes, values))
        .await
        .map_err(|error| Error::DocumentUnreadable { location, cause: error.to_string() })?
}

fn parse_text(url: &Url, text: &[u8], values: usize) -> Result<(Value, usize), Error> {
    let budget = Budget::new(values, Repeated::LastWins);
    let value = read_document(text, &budget).map_err(|error| match error {
        DocumentError::Syntax(cause) => Error::NotOpenApi { location: url.to_string(), cause },
        DocumentError::TooLarge(cause) => too_large(url, cause.to_owned()),
    })?;
    Ok((value, budget.left()))
}

async fn fetch(
    url: &Url,
    left: usize,
    max: usize,
    deadline: Instant,
    http: &HttpClient,
) -> Result<Bytes, Error> {
    let over = || too_large(url, format!("with all it refers to it has more than {max} bytes"));
    let unreadable = |cause: String| Error::DocumentUnreadable { location: url.to_string(), cause };
    if url.scheme() != "file" {
        return download(url, left, deadline, http).await.map_err(|error| match error {
            Download::TooLarge => over(),
            Download::Failed(cause) => unreadable(cause),
        });
    }
    let path: PathBuf = url.to_file_path().map_err(|()| unreadable("it is not a path".to_owned()))?;
    let read = tokio::task::spawn_blocking(move || read_file(&path, left)).await;
    match read {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => Err(over()),
        Ok(Err(error)) => Err(unreadable(error.to_string())),
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// The bytes of a regular file, or `None` where there are more than `limit`.
fn read_file(path: &Path, limit: usize) -> std::io::Result<Option<Bytes>> {
    use std::io::{Error as IoError, Read as _};
    // A pipe or a device could block for ever or never end; it must not even be opened.
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(IoError::other("it is not a regular file"));
    }
    if meta.len() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then(|| bytes.into()))
}

enum Download {
    TooLarge,
    Failed(String),
}

async fn download(url: &Url, limit: usize, deadline: Instant, http: &HttpClient) -> Result<Bytes, Download> {
    let failed = |cause: String| Download::Failed(cause);
    let mut at = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let request = Request::get(at.as_str())
            .header(header::ACCEPT, "application/json, application/yaml;q=0.9, */*;q=0.5")
            .header(header::USER_AGENT, super::USER_AGENT)
            .body(Full::default())
            .map_err(|error| failed(error.to_string()))?;
        let answer = http.send(request, deadline, limit).await.map_err(|error| match error {
            crate::http_client::HttpError::TooLarge { .. } => Download::TooLarge,
            other => failed(other.to_string()),
        })?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let next = answer.headers.get(header::LOCATION).and_then(|to| to.to_str().ok());
        match next.and_then(|to| at.join(to).ok()) {
            Some(to) if answer.status.is_redirection() && to.origin() == at.origin() => at = to,
            Some(to) if answer.status.is_redirection() => {
                return Err(failed(format!("it redirects to {to}; use that URL if you trust it")));
            }
            _ => return Err(failed(format!("the answer is {}", answer.status))),
        }
    }
    Err(failed("it redirects in a circle".to_owned()))
}

/// Finds the files that `value` refers to. `names` says that the members of this object are named by the author, so
/// that one called `example` is a schema and not an example.
fn collect_references(value: &Value, base: &Url, names: bool, found: &mut Vec<Url>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, base, false, found)),
        Value::Object(members) => {
            for (name, member) in members {
                match name.as_str() {
                    "$ref" if !names => {
                        if let Some(reference) = member.as_str()
                            && !reference.starts_with('#')
                            && let Ok(url) = base.join(reference)
                        {
                            found.push(url);
                        }
                    }
                    "example" | "examples" | "default" | "enum" | "const" if !names => {}
                    extension if extension.starts_with("x-") && !names => {}
                    other => {
                        let names = !names
                            && matches!(
                                other,
                                "properties"
                                    | "patternProperties"
                                    | "dependentSchemas"
                                    | "$defs"
                                    | "definitions"
                                    | "schemas"
                                    | "parameters"
                                    | "responses"
                            );
                        collect_references(member, base, names, found);
                    }
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_a_url_stays_within_its_origin() {
        let fits =
            |from: &str, to: &str| allowed(&Url::parse(from).unwrap(), &Url::parse(to).unwrap()).is_ok();
        assert!(fits("file:///a/b.yaml", "file:///c.yaml"));
        assert!(fits("file:///a/b.yaml", "https://h.example/c.yaml"));
        assert!(fits("https://h.example/a.yaml", "https://h.example/b.yaml"));
        assert!(!fits("https://h.example/a.yaml", "https://h.example:8443/b.yaml"));
        assert!(!fits("https://h.example/a.yaml", "http://h.example/b.yaml"));
        assert!(!fits("https://h.example/a.yaml", "http://169.254.169.254/latest"));
        assert!(!fits("https://h.example/a.yaml", "file:///etc/passwd"));
        assert!(!fits("file:///a/b.yaml", "ftp://h.example/c.yaml"));
    }
}
