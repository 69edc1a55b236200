//! Identities that a proxy of a service mesh passes on in a header. Only a pinned proxy is believed: from anyone else such a
//! header is nothing.

use std::net::IpAddr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_model::{Principal, PrincipalKind};

use crate::Error;

/// The longest identity, in bytes.
const LONGEST: usize = 256;

/// Which proxies say who calls, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeshConfig {
    /// The addresses of the proxies. They strip the header from what they are sent, and set it from the client's certificate.
    pub proxies: Vec<IpAddr>,
    /// The header that they set.
    pub header: MeshHeader,
}

/// A header that carries an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MeshHeader {
    /// Linkerd: the identity as it stands.
    L5dClientId,
    /// Envoy: of the last element, which the nearest proxy has added, the URI of the client's certificate.
    XForwardedClientCert,
}

impl MeshHeader {
    /// Its name, in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L5dClientId => "l5d-client-id",
            Self::XForwardedClientCert => "x-forwarded-client-cert",
        }
    }
}

impl MeshConfig {
    /// Whether a peer is one of the proxies.
    #[must_use]
    pub fn pins(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.to_canonical() == peer.to_canonical())
    }

    /// Who a pinned proxy says that it is. `values` are those of its header, in order.
    ///
    /// # Errors
    /// [`Error::MeshIdentity`] where there is none that can be used, or more than one.
    pub fn principal(&self, values: &[&[u8]]) -> Result<Arc<Principal>, Error> {
        let [value] = values else {
            return Err(Error::MeshIdentity(if values.is_empty() {
                "it has none"
            } else {
                "it has several"
            }));
        };
        let text = std::str::from_utf8(value).map_err(|_| Error::MeshIdentity("it is not text"))?;
        let identity = match self.header {
            MeshHeader::L5dClientId => text.trim().to_owned(),
            MeshHeader::XForwardedClientCert => {
                uri_of_last(text).ok_or(Error::MeshIdentity("its last element has not exactly one URI"))?
            }
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:/@%+=~".contains(&b);
        if identity.is_empty() || identity.len() > LONGEST || !identity.bytes().all(plain) {
            return Err(Error::MeshIdentity(
                "it is empty, too long, or has other characters than identities have",
            ));
        }
        Ok(Arc::new(Principal { id: Arc::from(format!("mesh:{identity}")), kind: PrincipalKind::Mesh }))
    }
}

/// The one `URI` of the last element. Elements are parted by commas, pairs by semicolons; what is in quotes does not part, and
/// `\"` is a quote within them (Envoy, "x-forwarded-client-cert").
fn uri_of_last(text: &str) -> Option<String> {
    let (mut uris, mut pair) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    let close = |pair: &mut String, uris: &mut Vec<String>| {
        let whole = std::mem::take(pair);
        if let Some((name, value)) = whole.split_once('=')
            && name.trim().eq_ignore_ascii_case("uri")
        {
            uris.push(value.trim().to_owned());
        }
    };
    for c in text.chars() {
        match c {
            _ if escaped => {
                pair.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ';' if !quoted => close(&mut pair, &mut uris),
            ',' if !quoted => {
                pair.clear();
                uris.clear();
            }
            _ => pair.push(c),
        }
    }
    close(&mut pair, &mut uris);
    if quoted || uris.len() != 1 { None } else { uris.pop() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(header: MeshHeader, values: &[&str]) -> Result<String, Error> {
        let config = MeshConfig { proxies: Vec::new(), header };
        let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
        config.principal(&values).map(|principal| principal.id.to_string())
    }

    #[test]
    fn a_pinned_proxy_is_believed_and_hostile_values_are_not() {
        let l5d = |values: &[&str]| identity(MeshHeader::L5dClientId, values);
        assert_eq!(
            l5d(&["web.shop.serviceaccount.identity.linkerd.cluster.local"]).unwrap(),
            "mesh:web.shop.serviceaccount.identity.linkerd.cluster.local"
        );
        for bad in [&[][..], &["a", "b"], &[""], &["a b"], &["a,b"], &["a\u{202e}b"], &[&"a".repeat(257)]] {
            assert!(l5d(bad).is_err(), "{bad:?}");
        }
        let xfcc = |value: &str| identity(MeshHeader::XForwardedClientCert, &[value]);
        let good = "By=spiffe://c/ns/a/sa/x;Hash=ab;Subject=\"CN=a,O=\\\"b;URI=spiffe://evil\\\"\";URI=spiffe://c/ns/b/sa/web";
        assert_eq!(xfcc(good).unwrap(), "mesh:spiffe://c/ns/b/sa/web");
        // The last element counts: what a client sent of itself stands before it.
        assert_eq!(xfcc(&format!("URI=spiffe://c/admin,{good}")).unwrap(), "mesh:spiffe://c/ns/b/sa/web");
        for bad in ["", "Hash=ab", "URI=a;URI=b", "URI=a,Hash=b", "URI=\"a", "URI=", "Subject=\"URI=a\""] {
            assert!(xfcc(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_pinned_addresses_are_proxies() {
        let config =
            MeshConfig { proxies: vec!["10.0.0.1".parse().unwrap()], header: MeshHeader::L5dClientId };
        assert!(config.pins("10.0.0.1".parse().unwrap()) && config.pins("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!config.pins("10.0.0.2".parse().unwrap()) && !config.pins("::1".parse().unwrap()));
    }
}
