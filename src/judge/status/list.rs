//! A status list token (draft-ietf-oauth-status-list-21 section 5.1): verified, then decoded.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use flate2::{Decompress, FlushDecompress, Status};

use crate::judge::dossier::ListKeys;
use crate::judge::jose::{UnverifiedJws, numeric_date};
use crate::values::Timestamp;
use crate::values::json::{Json, Object};

/// Largest token in bytes: a million entries of four bits that do not compress have 700 kB. It is kept as evidence, whose blobs have
/// at most 1 MiB when they are compressed.
pub const STATUS_LIST_MAX_BYTES: usize = 1_000_000;
/// Largest list in bytes when it is decoded: 134 million entries of one bit. A list of zeros honestly compresses a thousandfold, so that
/// a bound on the ratio would refuse good lists and stop no bomb that this does not.
pub const DECODED_MAX_BYTES: usize = 16 << 20;

/// A list whose signature holds.
#[derive(Debug)]
pub struct StatusList {
    uri: String,
    issued: Timestamp,
    expires: Option<Timestamp>,
    ttl: Option<Duration>,
    bits: u8,
    bytes: Box<[u8]>,
    aggregation: Option<String>,
}

impl StatusList {
    /// Verifies a token and decodes its list.
    ///
    /// # Errors
    /// Says which rule does not hold.
    pub fn verify(token: &[u8], keys: &ListKeys) -> Result<Self, String> {
        let text = std::str::from_utf8(token).map_err(|_| "it is not text".to_owned())?;
        let token = UnverifiedJws::parse_within(text, STATUS_LIST_MAX_BYTES).map_err(|refusal| refusal.detail)?;
        let key = keys.keys.find(token.claimed_kid()).ok_or("no key of the anchor has its `kid`")?;
        let token = token.verify(key, &keys.algorithms).map_err(|refusal| refusal.detail)?;
        let typ = token.typ().unwrap_or_default().to_ascii_lowercase();
        // Section 5.1; RFC 8725 section 3.11: or any other token of that signer would do.
        if typ.strip_prefix("application/").unwrap_or(&typ) != "statuslist+jwt" {
            return Err(format!("its `typ` is {typ:?}, not `statuslist+jwt`"));
        }
        Self::read(token.claims())
    }

    /// Reads the claims of a token. For the fuzzer too, which has no key: nothing else may leave out the signature.
    ///
    /// # Errors
    /// Says which rule does not hold.
    #[doc(hidden)]
    pub fn read(claims: &Object) -> Result<Self, String> {
        let its = |detail| format!("its {detail}");
        let Some(Json::String(uri)) = claims.get("sub") else { return Err("it has no `sub`".to_owned()) };
        let issued = numeric_date(claims, "iat").map_err(its)?.ok_or("it has no `iat`")?;
        let expires = numeric_date(claims, "exp").map_err(its)?;
        let ttl = match claims.get("ttl") {
            None => None,
            Some(Json::Integer(seconds)) => Some(Duration::from_secs(*seconds)),
            // Section 5.1: a positive number, not only a whole one. Larger ones than a duration holds are as long as any.
            Some(Json::Number(seconds)) if *seconds > 0.0 => {
                Some(Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX))
            }
            Some(_) => return Err("its `ttl` is not a positive number".to_owned()),
        };
        let Some(Json::Object(list)) = claims.get("status_list") else { return Err("it has no `status_list`".to_owned()) };
        let bits = match list.get("bits") {
            Some(Json::Integer(bits @ (1 | 2 | 4 | 8))) => u8::try_from(*bits).unwrap_or(8),
            _ => return Err("its `bits` is not 1, 2, 4 or 8".to_owned()),
        };
        let Some(Json::String(encoded)) = list.get("lst") else { return Err("it has no `lst`".to_owned()) };
        let bytes = inflate(encoded)?.into();
        // No statement rests on it: what is no text is none.
        let aggregation = match list.get("aggregation_uri") {
            Some(Json::String(uri)) => Some(uri.clone()),
            _ => None,
        };
        Ok(Self { uri: uri.clone(), issued, expires, ttl, bits, bytes, aggregation })
    }

    /// Its own URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// When it was issued: its version.
    #[must_use]
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// When it ends.
    #[must_use]
    pub const fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// How soon to ask for a newer one.
    #[must_use]
    pub const fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// Where it says that its issuer's other lists are named (section 9.2).
    #[must_use]
    pub fn aggregation(&self) -> Option<&str> {
        self.aggregation.as_deref()
    }

    /// Bits of an entry: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// How many bytes it has, decoded.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a list without bytes is none")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> u64 {
        u64::try_from(self.bytes.len()).unwrap_or(0).saturating_mul(u64::from(8 / self.bits.max(1)))
    }

    /// An entry; `None` beyond the end. Section 4.1: the first entry is in the lowest bits of the first byte.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u8> {
        let each = u64::from(8 / self.bits.max(1));
        let byte = *self.bytes.get(usize::try_from(index / each).ok()?)?;
        let shift = u32::try_from(index % each).ok()?.checked_mul(u32::from(self.bits))?;
        let mask = 0xff_u8.checked_shr(8_u32.checked_sub(u32::from(self.bits))?)?;
        Some(byte.checked_shr(shift)? & mask)
    }
}

/// Section 4.1: base64url without padding, of a ZLIB stream (RFC 1950) and nothing behind it.
fn inflate(encoded: &str) -> Result<Vec<u8>, String> {
    let packed = BASE64URL_NOPAD.decode(encoded.as_bytes()).map_err(|_| "its `lst` is not strict base64url".to_owned())?;
    let (mut inflating, mut bytes) = (Decompress::new(true), Vec::new());
    loop {
        if bytes.len() == bytes.capacity() {
            let room = DECODED_MAX_BYTES.saturating_add(1).saturating_sub(bytes.len()).min(bytes.len().max(4096));
            if room == 0 {
                return Err(format!("its `lst` is larger than {DECODED_MAX_BYTES} bytes when it is decoded"));
            }
            bytes.reserve_exact(room);
        }
        let before = (inflating.total_in(), inflating.total_out());
        let rest = usize::try_from(before.0).ok().and_then(|read| packed.get(read..)).unwrap_or_default();
        match inflating.decompress_vec(rest, &mut bytes, FlushDecompress::None) {
            Ok(Status::StreamEnd) => break,
            Ok(_) if before != (inflating.total_in(), inflating.total_out()) => {}
            // Nothing goes in or comes out any more: the stream was cut.
            Ok(_) | Err(_) => return Err("its `lst` is not a whole ZLIB stream".to_owned()),
        }
    }
    if bytes.len() > DECODED_MAX_BYTES {
        return Err(format!("its `lst` is larger than {DECODED_MAX_BYTES} bytes when it is decoded"));
    }
    // The library stops at the end of the stream and says nothing about what follows.
    if u64::try_from(packed.len()).map_or(true, |length| length != inflating.total_in()) {
        return Err("its `lst` goes on behind the ZLIB stream".to_owned());
    }
    if bytes.is_empty() { Err("its `lst` has no entries".to_owned()) } else { Ok(bytes) }
}
