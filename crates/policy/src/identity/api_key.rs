//! API keys. Only their SHA-256 digests are kept in memory for comparison.

use std::collections::HashSet;
use std::sync::Arc;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use trunkline_model::{Principal, Secret};

use super::mesh::MeshConfig;
use crate::Error;

/// Who may call. Without any key the gateway answers its own machine only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The keys. As soon as there is one, every request needs one.
    pub api_keys: Vec<ApiKey>,
    /// Proxies of a service mesh that say who calls. Who comes by them needs no key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mesh: Option<MeshConfig>,
}

/// A key. Exactly one of `key` and `sha256` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The name of the key's holder: policy and the record use it. `local` and `trunkline` are taken.
    pub id: String,
    /// The key itself, best as `${VARIABLE}` or `${file:/path}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// The key's SHA-256 digest as 64 hexadecimal digits (`printf %s KEY | sha256sum`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Its holder operates the gateway: it sees what all others do, and the configuration, and may cancel and undo their flows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// The ids of principals without a key: this machine, and Trunkline itself.
const RESERVED: [&str; 2] = ["local", "trunkline"];

type Digest = [u8; SHA256_OUTPUT_LEN];

/// Turns what a request carries into a principal.
#[derive(Debug)]
pub struct Authenticator {
    keys: Vec<(Digest, Arc<Principal>)>,
    local: Arc<Principal>,
    mesh: Option<MeshConfig>,
}

impl Authenticator {
    /// Builds from the configuration.
    ///
    /// # Errors
    /// [`Error::Key`] for each key that can't be used: not exactly one of `key` and `sha256`, an empty key, a digest
    /// that is not 64 hexadecimal digits, an id or key that is there twice, an empty id, or one of Trunkline's own.
    pub fn new(config: &Config) -> Result<Self, Vec<Error>> {
        let (mut keys, mut errors) = (Vec::with_capacity(config.api_keys.len()), Vec::new());
        let (mut ids, mut digests) = (HashSet::new(), HashSet::new());
        for entry in &config.api_keys {
            let usable = digest_of(entry).and_then(|digest| {
                if entry.id.trim().is_empty() {
                    Err("the id is empty")
                } else if RESERVED.contains(&entry.id.as_str()) || entry.id.starts_with("mesh:") {
                    Err("the id is Trunkline's own: take another")
                } else if !ids.insert(entry.id.as_str()) {
                    Err("another key has the same id")
                } else if !digests.insert(digest) {
                    Err("another id has the same key")
                } else {
                    Ok(digest)
                }
            });
            match usable {
                Ok(digest) if entry.operator => keys.push((digest, Arc::new(Principal::operator(&entry.id)))),
                Ok(digest) => keys.push((digest, Arc::new(Principal::api_key(&entry.id)))),
                Err(reason) => errors.push(Error::Key { id: entry.id.clone(), reason }),
            }
        }
        if errors.is_empty() {
            Ok(Self { keys, local: Arc::new(Principal::local()), mesh: config.mesh.clone() })
        } else {
            Err(errors)
        }
    }

    /// What is believed of a peer, where it is a proxy of the service mesh.
    #[must_use]
    pub fn mesh_of(&self, peer: std::net::IpAddr) -> Option<&MeshConfig> {
        self.mesh.as_ref().filter(|mesh| mesh.pins(peer))
    }

    /// Whether any key is configured.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The digest of a key, by which its holder is found again.
    #[must_use]
    pub fn digest(key: &str) -> [u8; SHA256_OUTPUT_LEN] {
        sha256(key.as_bytes())
    }

    /// Who holds the key of this digest now. The digest is none that a caller sends: time may tell of it.
    #[must_use]
    pub fn holder(&self, digest: &[u8; SHA256_OUTPUT_LEN]) -> Option<Arc<Principal>> {
        self.keys.iter().find(|(known, _)| known == digest).map(|(_, principal)| principal.clone())
    }

    /// Who a request is made for. `key` is what [`key_of`] found in its headers. Allocates nothing on success.
    ///
    /// The digest of the given key is compared with every configured one in constant time, so that the time taken
    /// tells nothing of how near a guess was or which key it was.
    ///
    /// # Errors
    /// [`Error::NoCredential`] and [`Error::UnknownKey`].
    pub fn authenticate(&self, peer_is_loopback: bool, key: Option<&str>) -> Result<Arc<Principal>, Error> {
        if self.keys.is_empty() && peer_is_loopback {
            return Ok(Arc::clone(&self.local));
        }
        let Some(key) = key.filter(|_| !self.keys.is_empty()) else {
            return Err(Error::NoCredential { keys_configured: !self.keys.is_empty() });
        };
        let given = sha256(key.as_bytes());
        let mut found = u64::MAX;
        for (index, (known, _)) in (0..).zip(&self.keys) {
            found.conditional_assign(&index, known.ct_eq(&given));
        }
        let principal = usize::try_from(found).ok().and_then(|index| self.keys.get(index));
        principal.map(|(_, principal)| Arc::clone(principal)).ok_or(Error::UnknownKey)
    }
}

/// The key in a request's headers: `Authorization: Bearer KEY` (RFC 6750), else `X-Api-Key: KEY`.
#[must_use]
pub fn key_of<'a>(authorization: Option<&'a str>, x_api_key: Option<&'a str>) -> Option<&'a str> {
    let bearer = authorization.and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim_start())
    });
    bearer.or(x_api_key.map(str::trim)).filter(|key| !key.is_empty())
}

fn digest_of(entry: &ApiKey) -> Result<Digest, &'static str> {
    match (&entry.key, &entry.sha256) {
        (Some(key), None) if key.expose().trim().is_empty() => Err("the key is empty"),
        // Headers can't carry white space at either end, and files usually end in a newline.
        (Some(key), None) => Ok(sha256(key.expose().trim().as_bytes())),
        (None, Some(hex)) => from_hex(hex).ok_or("sha256 is not 64 hexadecimal digits"),
        (Some(_), Some(_)) => Err("both key and sha256 are given"),
        (None, None) => Err("neither key nor sha256 is given"),
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; SHA256_OUTPUT_LEN];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn from_hex(hex: &str) -> Option<Digest> {
    let mut out = [0; SHA256_OUTPUT_LEN];
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != out.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(pairs) {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use trunkline_model::{Failure, PrincipalKind};

    use super::*;

    fn plain(id: &str, key: &str) -> ApiKey {
        ApiKey { id: id.into(), key: Some(Secret::new(key)), sha256: None, operator: false }
    }

    fn hashed(id: &str, hex: &str) -> ApiKey {
        ApiKey { id: id.into(), key: None, sha256: Some(hex.into()), operator: false }
    }

    /// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn keys_are_found_plain_and_hashed() {
        let config = Config { api_keys: vec![plain("ci", "one-long-key\n"), hashed("ops", ABC)], mesh: None };
        let authenticator = Authenticator::new(&config).unwrap();
        let id = |key| authenticator.authenticate(true, key).map(|p| p.id.to_string());
        assert_eq!(id(Some("one-long-key")).as_deref(), Ok("ci"));
        assert_eq!(id(Some("abc")).as_deref(), Ok("ops"));
        assert_eq!(id(Some("abd")), Err(Error::UnknownKey));
        assert_eq!(id(None), Err(Error::NoCredential { keys_configured: true }));
    }

    #[test]
    fn without_keys_only_this_machine_is_answered() {
        let authenticator = Authenticator::new(&Config::default()).unwrap();
        let local = authenticator.authenticate(true, Some("left over")).unwrap();
        assert_eq!(local.kind, PrincipalKind::Local);
        let refused: Failure = authenticator.authenticate(false, Some("any")).unwrap_err().into();
        assert_eq!(refused.code, "TL2001");
        assert_eq!(refused.fault, trunkline_model::Fault::Operator);
    }

    #[test]
    fn every_unusable_key_is_named() {
        let both = ApiKey { sha256: Some(ABC.into()), ..plain("both", "k") };
        let neither = ApiKey { key: None, ..plain("neither", "") };
        let config = Config {
            mesh: None,
            api_keys: vec![
                both,
                neither,
                plain("empty", " \n"),
                hashed("short", "abcd"),
                hashed("ops", ABC),
                plain("ops", "other"),
                plain("same", "abc"),
                plain(" ", "unnamed"),
                plain("local", "k3"),
                plain("trunkline", "k4"),
            ],
        };
        let errors = Authenticator::new(&config).unwrap_err();
        let text = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert_eq!(errors.len(), 9, "{text}");
        assert!(text.contains("\"same\": another id has the same key"), "{text}");
        assert!(!text.contains("unnamed") && !text.contains("abc\""), "a key is shown: {text}");
    }

    #[test]
    fn keys_are_read_from_both_headers() {
        assert_eq!(key_of(Some("Bearer k1"), Some("k2")), Some("k1"));
        assert_eq!(key_of(Some("bearer  k1 "), None), Some("k1"));
        assert_eq!(key_of(Some("Basic eDp5"), Some(" k2 ")), Some("k2"));
        assert_eq!(key_of(Some("Bearer "), None), None);
        assert_eq!(key_of(None, Some("")), None);
    }
}
