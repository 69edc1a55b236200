//! Identities that follow from what they are of, so that doing something again finds what was done before.

use jiff::Timestamp;
use uuid::Uuid;

/// The UUIDv8 (RFC 9562, section 5.8) of the SHA-256 of these texts, each with its length before it.
pub(crate) fn of(parts: &[&str]) -> Uuid {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&context.finish().as_ref()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// As [`of`], with a time before the rest: such identities sort by it, as those of RFC 9562's version 7 do.
pub(crate) fn at(time: Timestamp, parts: &[&str]) -> Uuid {
    let mut bytes = of(parts).into_bytes();
    bytes[..6].copy_from_slice(&time.as_millisecond().to_be_bytes()[2..]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// A key as it may stand in an HTTP header: what is not plain is written as hexadecimal.
pub(crate) fn header_safe(key: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.[]~:".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_have_one_identity_and_others_another() {
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
        assert_eq!(of(&["a"]).get_version_num(), 8);
    }

    #[test]
    fn identities_of_a_time_sort_by_it() {
        let [early, late] = [1_000, 2_000].map(|time| Timestamp::from_millisecond(time).unwrap());
        assert_eq!(at(early, &["a"]), at(early, &["a"]));
        assert_ne!(at(early, &["a"]), at(early, &["b"]));
        for name in ["a", "b", "c", "d"] {
            assert!(at(early, &[name]) < at(late, &["a"]));
        }
        assert_eq!(at(late, &["a"]).get_version_num(), 8);
    }
}
