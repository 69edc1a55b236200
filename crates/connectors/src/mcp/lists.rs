//! What a server offers: its lists, page by page, in bounded memory.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use trunkline_model::{Contents, Item, Json, Tool};

use super::client::{Request, Session};
use super::error::Error;
use super::hub::Hub;
use super::jsonrpc;
use super::service::Core;
use super::tool::McpTool;

/// The most pages of one list.
const MAX_PAGES: usize = 1_000;

/// The most entries of one list.
const MAX_ITEMS: usize = 20_000;

/// The most bytes of one list.
const MAX_BYTES: usize = 64 << 20;

/// The shortest time after which lists are read again because the server said that they are fresh for so long only.
const MIN_TTL: Duration = Duration::from_secs(30);

/// What was read, and how long it is fresh.
pub(super) struct Read {
    pub(super) contents: Contents,
    pub(super) fresh: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default, alias = "prompts", alias = "resources", alias = "resourceTemplates")]
    tools: Vec<&'a RawValue>,
    #[serde(default)]
    next_cursor: Option<String>,
    #[serde(default)]
    ttl_ms: Option<f64>,
}

/// Reads all lists that the server has declared.
pub(super) async fn read(session: &Session, hub: &Hub, core: &Weak<Core>) -> Result<Read, Error> {
    let facts = &session.facts;
    let mut fresh = None;
    let mut list = async |method, declared| {
        if declared { pages(session, method, &mut fresh).await } else { Ok(Vec::new()) }
    };
    let tools = list("tools/list", facts.tools).await?;
    let prompts = list("prompts/list", facts.prompts).await?;
    let resources = list("resources/list", facts.resources).await?;
    // Templates came later than resources: a server without them refuses the method.
    let templates = list("resources/templates/list", facts.resources).await;
    let templates = match templates {
        Err(Error::Rpc(_)) => Vec::new(),
        other => other?,
    };
    let contents = Contents {
        tools: self::tools(tools, session, hub, core),
        prompts: items(prompts, "name"),
        resources: items(resources, "uri"),
        templates: items(templates, "uriTemplate"),
        completions: facts.completions,
        subscriptions: facts.subscribe,
        logging: facts.logging,
        instructions: facts.instructions.clone(),
    };
    Ok(Read { contents, fresh })
}

/// Whether two states of a service are the same to whoever lists them.
pub(super) fn same(a: &Contents, b: &Contents) -> bool {
    let items = |a: &[Item], b: &[Item]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.key == b.key && a.raw == b.raw)
    };
    a.tools.len() == b.tools.len()
        && a.tools.iter().zip(&b.tools).all(|(a, b)| a.spec().raw == b.spec().raw)
        && items(&a.prompts, &b.prompts)
        && items(&a.resources, &b.resources)
        && items(&a.templates, &b.templates)
        && (a.completions, a.subscriptions, a.logging) == (b.completions, b.subscriptions, b.logging)
        && a.instructions == b.instructions
}

async fn pages(
    session: &Session,
    method: &'static str,
    fresh: &mut Option<Duration>,
) -> Result<Vec<Json>, Error> {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut params = String::new();
    let mut cursors = HashSet::new();
    for _ in 0..MAX_PAGES {
        let parts: [&[u8]; 1] = [params.as_bytes()];
        let request = Request { method, params: &parts, repeatable: true, ..Request::default() };
        let result = session.request(&request, None).await?.into_result()?;
        bytes += result.len();
        let text = result.bytes();
        let page: Page<'_> = serde_json::from_slice(&text)
            .map_err(|error| Error::Garbage(format!("{error} in the answer to {method}")))?;
        entries.extend(page.tools.iter().map(|raw| Json::slice_of(&text, raw)));
        if entries.len() > MAX_ITEMS || bytes > MAX_BYTES {
            return Err(Error::Garbage(format!(
                "{method} has more than {MAX_ITEMS} entries or {MAX_BYTES} bytes"
            )));
        }
        if let Some(ms) = page.ttl_ms.filter(|ms| (1.0..1e12).contains(ms)) {
            let ttl = Duration::from_secs_f64(ms / 1e3).max(MIN_TTL);
            *fresh = Some(fresh.map_or(ttl, |other: Duration| other.min(ttl)));
        }
        let Some(cursor) = page.next_cursor else { return Ok(entries) };
        params = format!(r#""cursor":{}"#, jsonrpc::quoted(&cursor));
        if !cursors.insert(cursor) {
            return Err(Error::Garbage(format!("{method} gives the same cursor again")));
        }
    }
    Err(Error::Garbage(format!("{method} has more than {MAX_PAGES} pages")))
}

fn tools(raw: Vec<Json>, session: &Session, hub: &Hub, core: &Weak<Core>) -> Vec<Arc<dyn Tool>> {
    let version: Arc<str> = Arc::from(session.facts.version.as_str());
    let mirrored = session.revision.is_modern() && session.channel.http.is_some();
    let mut names = HashSet::new();
    let mut tools: Vec<Arc<dyn Tool>> = Vec::with_capacity(raw.len());
    for raw in raw {
        match McpTool::read(raw.clone(), hub, core.clone(), &version, mirrored) {
            Ok(tool) => {
                let name = Arc::clone(&tool.spec().name);
                let hidden = hub.config.tools.get(&*name).is_some_and(|settings| settings.hidden);
                if !hidden && names.insert(name) {
                    tools.push(Arc::new(tool));
                }
            }
            Err(reason) => {
                let tool = jsonrpc::excerpt(raw.as_bytes());
                tracing::warn!(service = %hub.id, %reason, %tool, "a tool is left out");
            }
        }
    }
    tools
}

fn items(raw: Vec<Json>, key: &str) -> Vec<Item> {
    let item = |raw: Json| {
        let mut found = None;
        jsonrpc::for_each_member(&raw, |name, value| {
            if name == key {
                found = serde_json::from_str::<Cow<'_, str>>(value.get()).ok().map(|text| Arc::from(&*text));
            }
        });
        Some(Item { key: found?, raw: raw.clone() })
    };
    raw.into_iter().filter_map(item).collect()
}
