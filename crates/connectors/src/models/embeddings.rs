//! A model that makes vectors of texts: `POST /embeddings`, as OpenAI has it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Key};
use super::config::Endpoint;
use super::error::Error;
use crate::http_client::HttpClient;

/// The largest answer, in bytes: a batch of vectors of some thousand numbers, written out.
const MAX_ANSWER: usize = 8 << 20;

/// The most numbers of a vector.
const MAX_DIMENSIONS: usize = 8_192;

/// A model that makes vectors of texts. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Embedder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: Client,
    model: String,
    /// How many numbers its first vector had: vectors of another length can't be compared to it.
    dimensions: OnceLock<usize>,
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    index: Option<usize>,
    embedding: Vec<f32>,
}

impl Embedder {
    /// A model behind an endpoint. Asks nothing yet.
    ///
    /// # Errors
    /// [`Error::Config`] where what is configured can't be used.
    pub fn new(endpoint: &Endpoint, http: &HttpClient) -> Result<Self, Error> {
        let client = Client::new(endpoint, "embeddings", Key::Bearer, http)?;
        let (model, dimensions) = (endpoint.model.clone(), OnceLock::new());
        Ok(Self(Arc::new(Shared { client, model, dimensions })))
    }

    /// The vectors of texts, in their order, each of length 1.
    ///
    /// # Errors
    /// There is no answer, or it is not a vector for each text, all as long as the first that ever came.
    pub async fn embed(&self, texts: &[String], deadline: Instant) -> Result<Vec<Box<[f32]>>, Error> {
        let Shared { client, model, .. } = &*self.0;
        let body = json!({"model": model, "input": texts, "encoding_format": "float"});
        let answer = client.ask(&body, deadline, MAX_ANSWER).await?;
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|error| client.unusable(error.to_string()))?;
        self.0.vectors(answer, texts.len()).map_err(|cause| client.unusable(cause))
    }
}

impl Shared {
    fn vectors(&self, answer: Answer, count: usize) -> Result<Vec<Box<[f32]>>, String> {
        if answer.data.len() != count {
            return Err(format!("{} vectors for {count} texts", answer.data.len()));
        }
        let mut vectors: Vec<Option<Box<[f32]>>> = vec![None; count];
        for (at, row) in answer.data.into_iter().enumerate() {
            let place = vectors.get_mut(row.index.unwrap_or(at)).filter(|place| place.is_none());
            let place = place.ok_or("vectors are numbered wrongly")?;
            *place = Some(self.unit(row.embedding)?);
        }
        // Each has a place of its own, and there are as many as places.
        Ok(vectors.into_iter().flatten().collect())
    }

    /// A vector of length 1.
    fn unit(&self, mut vector: Vec<f32>) -> Result<Box<[f32]>, String> {
        let found = vector.len();
        let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
        if found > MAX_DIMENSIONS || !length.is_normal() {
            return Err(format!("a vector of {found} numbers that can't be compared"));
        }
        let wanted = *self.dimensions.get_or_init(|| found);
        if found != wanted {
            return Err(format!("a vector of {found} numbers, where they had {wanted}"));
        }
        vector.iter_mut().for_each(|number| *number /= length);
        Ok(vector.into_boxed_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_vector_for_each_text_is_taken_and_all_of_one_length() {
        let endpoint = Endpoint { url: "http://127.0.0.1:1/v1".to_owned(), model: "m".to_owned(), key: None };
        let model = Embedder::new(&endpoint, &HttpClient::new().unwrap()).unwrap();
        let vectors = |text: &str, count| model.0.vectors(serde_json::from_str(text).unwrap(), count);
        let two = r#"{"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]}"#;
        let found = vectors(two, 2).unwrap();
        assert_eq!((&*found[0], &*found[1]), (&[0.6, 0.8][..], &[0.0, 1.0][..]));
        assert!(vectors(two, 1).is_err() && vectors(two, 3).is_err());
        for wrong in [
            r#"{"data": [{"embedding": [1, 2, 3]}]}"#,
            r#"{"data": [{"embedding": []}]}"#,
            r#"{"data": [{"embedding": [0, 0]}]}"#,
            r#"{"data": [{"embedding": [1e38, 1e38]}]}"#,
            r#"{"data": [{"index": 5, "embedding": [1, 2]}]}"#,
        ] {
            assert!(vectors(wrong, 1).is_err(), "{wrong}");
        }
        let twice = r#"{"data": [{"index": 0, "embedding": [1, 2]}, {"index": 0, "embedding": [1, 2]}]}"#;
        assert!(vectors(twice, 2).is_err());
    }
}
