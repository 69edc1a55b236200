//! A stronger encoder for the search and for intents: tools and examples get their vectors beside everything else, requests when they
//! come. Where it fails, it is gone on without it, and that is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use trunkline_discovery::embed::MiniLm;
use trunkline_discovery::search::Encoded;
use trunkline_model::BoxFuture;
use trunkline_resilience::breaker::{Breaker, BreakerConfig};

use crate::Gateway;

/// How many texts are encoded at a time.
const BATCH: usize = 16;

/// How often it is looked for tools and examples that have come.
const LOOK: Duration = Duration::from_millis(500);

/// How long a batch may take that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the encoder in the gateway itself may take for a request: as long as other work keeps the processors.
const OWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How much of a text is encoded, in bytes: about what the usual encoders read of it.
const LONGEST: usize = 2_000;

/// Vectors of texts in their order, each of length 1, or why there are none.
pub type Vectors = Result<Vec<Box<[f32]>>, String>;

/// Gives texts their vectors, by a deadline.
pub type Embed = Arc<dyn Fn(Vec<String>, Instant) -> BoxFuture<'static, Vectors> + Send + Sync>;

/// A stronger encoder than the table in the binary.
pub struct Encoder {
    embed: Embed,
    /// How long a request waits for it.
    timeout: Duration,
    /// For requests, and for what nobody waits for: they may take differently long.
    asked: Breaker,
    beside: Breaker,
    /// Why it had no part in what it was asked for last; none where it had.
    failing: ArcSwapOption<String>,
}

impl Encoder {
    /// One that is elsewhere, for which requests wait so long.
    #[must_use]
    pub fn new(embed: Embed, timeout: Duration) -> Self {
        let config =
            BreakerConfig { consecutive: 3, open_ms: 5_000, max_open_ms: 60_000, ..BreakerConfig::default() };
        let breaker = || Breaker::new(config.clone(), Instant::now());
        let (asked, beside) = (breaker(), breaker());
        Self { embed, timeout, asked, beside, failing: ArcSwapOption::empty() }
    }

    /// One in the gateway itself, of weights.
    #[must_use]
    pub fn of_weights(weights: MiniLm) -> Self {
        let weights = Arc::new(weights);
        let embed = move |texts: Vec<String>, _: Instant| -> BoxFuture<'static, _> {
            let weights = weights.clone();
            Box::pin(async move {
                let all = move || texts.iter().map(|text| weights.encode(text)).collect();
                tokio::task::spawn_blocking(all).await.map_err(|error| error.to_string())
            })
        };
        Self::new(Arc::new(embed), OWN_TIMEOUT)
    }

    /// Why it had no part in what it was asked for last.
    pub(crate) fn failing(&self) -> Option<Arc<String>> {
        self.failing.load_full()
    }

    async fn embed(&self, texts: &[&str], breaker: &Breaker, timeout: Duration) -> Vectors {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let answer = match breaker.admit(Instant::now(), true) {
            Err(refused) => {
                let seconds = refused.after.as_secs() + 1;
                Err(format!("the encoder has failed on end and is asked again in {seconds} s"))
            }
            Ok(pass) => {
                let texts = texts.iter().map(|text| beginning(text).to_owned()).collect();
                let deadline = Instant::now() + timeout;
                let answer = tokio::time::timeout_at(deadline.into(), (self.embed)(texts, deadline)).await;
                let answer = answer.unwrap_or_else(|_| Err("the encoder did not answer in time".to_owned()));
                match answer {
                    Ok(_) => pass.succeeded(Instant::now()),
                    Err(_) => pass.failed(Instant::now(), None, 0.0),
                }
                answer
            }
        };
        let failing = answer.as_ref().err().cloned();
        let before = self.failing.swap(failing.clone().map(Arc::new));
        match (before, &failing) {
            (None, Some(why)) => tracing::warn!(%why, "what is asked is found without the encoder"),
            (Some(_), None) => tracing::info!("the encoder is there again"),
            _ => {}
        }
        answer
    }
}

/// What is encoded of a text.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// The vectors of what is asked, and why there are none where there should be.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) vectors: Encoded,
    pub(crate) without: Option<String>,
}

impl Gateway {
    /// Finds by this encoder too, from now on, and gives tools and the examples of intents their vectors, one after another, until the
    /// gateway closes. What has none yet is found without it. It stays the one that was given first.
    pub async fn search_by(self: Arc<Self>, encoder: Encoder) {
        let encoder = self.encoder.get_or_init(|| Arc::new(encoder)).clone();
        let closing = self.closing().clone();
        let mut examples = HashMap::new();
        while !closing.is_cancelled() {
            let more = closing.run_until_cancelled(self.encode_some(&encoder, &mut examples)).await;
            if more != Some(Ok(true)) {
                closing.run_until_cancelled(tokio::time::sleep(LOOK)).await;
            }
        }
    }

    /// Gives some tools or examples their vectors. Gives whether there may be more.
    async fn encode_some(
        self: &Arc<Self>,
        encoder: &Encoder,
        examples: &mut HashMap<String, Box<[f32]>>,
    ) -> Result<bool, String> {
        let lacking = self.catalog.lacking(BATCH);
        if !lacking.texts.is_empty() {
            let texts: Vec<&str> = lacking.texts.iter().map(String::as_str).collect();
            let vectors = encoder.embed(&texts, &encoder.beside, PATIENCE).await?;
            self.catalog.encoded(&lacking, &vectors);
            return Ok(true);
        }
        let Some(wanted) = self.intentions.lacking() else { return Ok(false) };
        let missing: Vec<&str> =
            wanted.texts().filter(|text| !examples.contains_key(*text)).take(BATCH).collect();
        if missing.is_empty() {
            let (gateway, mut kept) = (self.clone(), std::mem::take(examples));
            let learned = tokio::task::spawn_blocking(move || {
                gateway.intentions.encoded(&wanted, &mut kept);
                kept
            });
            *examples = learned.await.unwrap_or_default();
            return Ok(true);
        }
        let vectors = encoder.embed(&missing, &encoder.beside, PATIENCE).await?;
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        examples.extend(missing.into_iter().zip(vectors));
        Ok(true)
    }

    /// The vectors of texts of a request, for which it waits shortly.
    pub(crate) async fn encode(&self, mut texts: Vec<&str>) -> Asked {
        let Some(encoder) = self.encoder.get() else { return Asked::default() };
        texts.sort_unstable();
        texts.dedup();
        match encoder.embed(&texts, &encoder.asked, encoder.timeout).await {
            Ok(vectors) => {
                let vectors = texts.into_iter().map(Box::from).zip(vectors).collect();
                Asked { vectors, without: None }
            }
            Err(why) => Asked { vectors: Encoded::default(), without: Some(why) },
        }
    }

    /// The same for a search.
    pub(crate) async fn encode_search(&self, request: &str) -> Asked {
        self.encode(Encoded::texts(request)).await
    }
}
