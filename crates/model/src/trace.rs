//! W3C Trace Context: the identities of traces and spans, and the header that carries them.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The identity of a trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

/// The identity of a span within its trace. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId([u8; 8]);

/// What the header `traceparent` says (W3C Trace Context, level 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace: TraceId,
    /// The span that what follows is a child of.
    pub span: SpanId,
    /// The flags; the lowest bit says that the trace is sampled.
    pub flags: u8,
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

macro_rules! identity {
    ($name:ident, $bytes:literal) => {
        impl $name {
            /// An identity; none where all bytes are zero.
            #[must_use]
            pub fn new(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// Reads lower-case hexadecimal digits.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let mut bytes = [0; $bytes];
                read_hex(text.as_bytes(), &mut bytes)?;
                Self::new(bytes)
            }

            /// The bytes.
            #[must_use]
            pub fn bytes(self) -> [u8; $bytes] {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; $bytes * 2];
                write_hex(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text)
                    .ok_or_else(|| serde::de::Error::custom("not an identity of W3C Trace Context"))
            }
        }
    };
}

identity!(TraceId, 16);
identity!(SpanId, 8);

impl SpanId {
    /// The identity that follows from what a span is about: the same whenever it is asked for. FNV-1a with the final
    /// mixing of SplitMix64.
    #[must_use]
    pub fn derived(parts: &[&[u8]]) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for part in parts {
            // What ends a part, so that ("ab", "c") is not ("a", "bc").
            for byte in part.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 31;
        Self(if hash == 0 { [1; 8] } else { hash.to_be_bytes() })
    }

    /// One of a family of identities: cheap, and the same for the same number.
    #[must_use]
    pub fn child(self, number: u16) -> Self {
        let mixed = u64::from_be_bytes(self.0) ^ u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self(if mixed == 0 { [1; 8] } else { mixed.to_be_bytes() })
    }
}

impl TraceParent {
    /// Reads the header. What a later version adds behind the flags is not looked at.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let bytes = header.as_bytes();
        let mut version = [0];
        read_hex(bytes.get(..2)?, &mut version)?;
        let whole = match version[0] {
            0 => bytes.len() == 55,
            0xff => false,
            _ => bytes.len() == 55 || bytes.get(55) == Some(&b'-'),
        };
        if !whole || bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return None;
        }
        let (mut trace, mut span, mut flags) = ([0; 16], [0; 8], [0]);
        read_hex(&bytes[3..35], &mut trace)?;
        read_hex(&bytes[36..52], &mut span)?;
        read_hex(&bytes[53..55], &mut flags)?;
        Some(Self { trace: TraceId::new(trace)?, span: SpanId::new(span)?, flags: flags[0] })
    }

    /// The header, in version 00.
    #[must_use]
    pub fn header(&self) -> Arc<str> {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace.0, &mut text[3..35]);
        write_hex(&self.span.0, &mut text[36..52]);
        write_hex(&[self.flags], &mut text[53..55]);
        Arc::from(std::str::from_utf8(&text).unwrap_or_default())
    }

    /// The same trace with another span.
    #[must_use]
    pub fn at(self, span: SpanId) -> Self {
        Self { span, ..self }
    }
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    for (byte, two) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        two[0] = DIGITS[usize::from(byte >> 4)];
        two[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn read_hex(text: &[u8], bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, two) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(two[0])? << 4 | digit(two[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_header_is_read_and_written() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = TraceParent::parse(header).unwrap();
        assert_eq!(&*parent.header(), header);
        assert_eq!(parent.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert_eq!(TraceParent::parse(later), Some(parent));
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_breaks_it(header in "\\PC{0,60}") {
            let _ = TraceParent::parse(&header);
        }

        #[test]
        fn children_differ(seed in any::<u64>(), a in 0..64_u16, b in 0..64_u16) {
            let id = SpanId::derived(&[&seed.to_be_bytes()]);
            prop_assert_eq!(id.child(a) == id.child(b), a == b);
            prop_assert!(id.child(a) != id);
        }
    }
}
