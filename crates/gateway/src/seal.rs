//! Sealed state: what we give a client to keep and want back unread and unchanged.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Seals text with ChaCha20-Poly1305 (RFC 8439) under a random nonce, bound to a context.
///
/// A key seals fewer than 2^32 states before it is replaced at the next installation, which keeps the chance that a
/// random 96-bit nonce repeats below 2^-32 (NIST SP 800-38D, section 8.3).
pub struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// Seals with this key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).ok()?;
        Some(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals `text`. Only [`open`](Self::open) with the same `context` reads it again.
    #[must_use]
    pub fn seal(&self, text: &str, context: &str) -> Option<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).ok()?;
        let mut sealed = text.as_bytes().to_vec();
        let aad = Aad::from(context.as_bytes());
        self.key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).ok()?;
        let mut out = nonce.to_vec();
        out.append(&mut sealed);
        Some(URL_SAFE_NO_PAD.encode(out))
    }

    /// The text that was sealed with `context`, or nothing where it was not sealed here, for this context, or was
    /// changed.
    #[must_use]
    pub fn open(&self, sealed: &str, context: &str) -> Option<String> {
        let mut bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        if bytes.len() < NONCE_LEN {
            return None;
        }
        let mut text = bytes.split_off(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).ok()?;
        let plain = self.key.open_in_place(nonce, Aad::from(context.as_bytes()), &mut text).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_and_context_open() {
        let sealer = Sealer::new(&[7; 32]).unwrap();
        let sealed = sealer.seal("state", "anna").unwrap();
        assert_eq!(sealer.open(&sealed, "anna").as_deref(), Some("state"));
        assert_eq!(sealer.open(&sealed, "bert"), None);
        assert_eq!(sealer.open(&format!("{sealed}-TAMPERED"), "anna"), None);
        assert_eq!(sealer.open("", "anna"), None);
        assert_ne!(sealer.seal("state", "anna").unwrap(), sealed);
    }
}
