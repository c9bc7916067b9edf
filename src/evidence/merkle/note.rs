//! Signed notes (c2sp.org/signed-note) and cosignatures (c2sp.org/tlog-cosignature), with Ed25519.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::VerifyingKey;

use crate::values::Digest;

/// The most signatures that are looked at. The specification asks for at least 16.
const SIGNATURES_MAX: usize = 32;
/// The longest signature that is read: post-quantum ones have up to 5 kB.
const SIGNATURE_MAX: usize = 8 << 10;
/// The longest note: that many signatures, and a text.
const NOTE_MAX: usize = 320 << 10;
/// The longest key name. Ours have at most 211 bytes: an origin of 200 and an epoch.
const NAME_MAX: usize = 255;
const DASH: &str = "\u{2014} ";

/// What a key signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// The note's text (type 0x01).
    Ed25519,
    /// The note's text with a time (type 0x04): a witness says that it had seen nothing inconsistent with it at that time.
    Cosignature,
}

impl KeyKind {
    const fn code(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Cosignature => 4,
        }
    }
}

/// A public key with a name: `<name>+<id>+<key>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vkey {
    name: String,
    kind: KeyKind,
    id: [u8; 4],
    key: VerifyingKey,
}

/// Why a text is not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a verifier key: {0}; expected NAME+8 hex digits+base64 (c2sp.org/signed-note)")]
pub struct VkeyError(&'static str);

/// A signature of a note.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// A text and who signed it. Parsing verifies nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verified<'k> {
    /// Whose.
    pub key: &'k Vkey,
    /// When it was made, in seconds since 1970, as a cosigner says.
    pub time: Option<u64>,
}

/// Why a note is not one, or is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// It is not a signed note.
    #[error("not a signed note: {0} (c2sp.org/signed-note)")]
    Format(&'static str),
    /// A known key's signature does not hold.
    #[error("the signature of {0:?} does not hold: the note was changed, or it was made with another key")]
    Invalid(String),
    /// No known key signed it.
    #[error("none of the known keys signed the note")]
    Unsigned,
}

impl Vkey {
    /// A key under a name. `None` when the name cannot be written into a note.
    #[must_use]
    pub fn new(name: &str, kind: KeyKind, key: VerifyingKey) -> Option<Self> {
        is_name(name).then(|| Self { id: key_id(name, kind, &key), name: name.to_owned(), kind, key })
    }

    /// Its name: for a log's key, the log's origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The signature line of a text. `sign` holds the private half; `time` is for cosignatures, in seconds since 1970.
    pub fn signature(&self, text: &str, time: u64, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Signature {
        let bytes = match self.kind {
            KeyKind::Ed25519 => sign(text.as_bytes()).to_vec(),
            KeyKind::Cosignature => {
                let signed = sign(cosigned(text, time).as_bytes());
                [time.to_be_bytes().as_slice(), &signed].concat()
            }
        };
        Signature { name: self.name.clone(), id: self.id, bytes }
    }

    /// Whether a signature of ours holds, and its time.
    fn check(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        let verify = |message: &str, signature: &[u8; 64]| {
            self.key.verify_strict(message.as_bytes(), &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
        };
        match self.kind {
            KeyKind::Ed25519 => verify(text, signature.try_into().ok()?).then_some(None),
            KeyKind::Cosignature => {
                let (time, rest) = signature.split_first_chunk::<8>()?;
                let time = u64::from_be_bytes(*time);
                // c2sp.org/tlog-cosignature: at most 2^63-1. A time in the future is not refused: clocks differ.
                let possible = i64::try_from(time).is_ok();
                (possible && verify(&cosigned(text, time), rest.try_into().ok()?)).then_some(Some(time))
            }
        }
    }
}

/// What a cosigner signs.
fn cosigned(text: &str, time: u64) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_MAX && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// SHA-256(name, newline, type, key), its first four bytes.
fn key_id(name: &str, kind: KeyKind, key: &VerifyingKey) -> [u8; 4] {
    let [a, b, c, d, ..] = *Digest::of(&[name.as_bytes(), b"\n", &[kind.code()], key.as_bytes()].concat()).as_bytes();
    [a, b, c, d]
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.code()], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id), BASE64.encode(&key))
    }
}

impl FromStr for Vkey {
    type Err = VkeyError;

    fn from_str(text: &str) -> Result<Self, VkeyError> {
        // The name has no `+`; base64 may.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VkeyError("it has fewer than three parts"));
        };
        let id: Option<[u8; 4]> = HEXLOWER.decode(id.as_bytes()).ok().and_then(|id| id.try_into().ok());
        let key = (key.len() <= 64).then(|| BASE64.decode(key.as_bytes()).ok()).flatten();
        let key = key.ok_or(VkeyError("the key is not base64"))?;
        let (kind, key) = key.split_first().ok_or(VkeyError("the key is empty"))?;
        let kind = match kind {
            1 => KeyKind::Ed25519,
            4 => KeyKind::Cosignature,
            _ => return Err(VkeyError("only Ed25519 keys (types 01 and 04) are supported")),
        };
        let key = key.try_into().ok().and_then(|key| VerifyingKey::from_bytes(key).ok());
        let key = key.ok_or(VkeyError("the key is not an Ed25519 key"))?;
        let vkey = Self::new(name, kind, key).ok_or(VkeyError("the name is empty, too long, or has a space or a `+`"))?;
        if Some(vkey.id) == id { Ok(vkey) } else { Err(VkeyError("the id is not that of the name and the key")) }
    }
}

impl Note {
    /// A text, which ends in a newline, with its signatures.
    #[must_use]
    pub fn new(text: String, signatures: Vec<Signature>) -> Self {
        Self { text, signatures }
    }

    /// Reads a note.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let bad = NoteError::Format;
        if bytes.len() > NOTE_MAX {
            return Err(bad("it is longer than 320 KiB"));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(bad("it has a control character"));
        }
        // The last empty line: the text may have others.
        let (text, lines) = note.rsplit_once("\n\n").ok_or(bad("there is no empty line before the signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(bad("it does not end in a newline"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == SIGNATURES_MAX {
                return Err(bad("it has more than 32 signatures"));
            }
            signatures.push(Signature::parse(line).ok_or(bad("a signature line is malformed"))?);
        }
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, verified or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature, unless it has one of that key, or too many.
    pub fn add(&mut self, signature: Signature) {
        let known = self.signatures.iter().any(|other| (&other.name, other.id) == (&signature.name, signature.id));
        if !known && self.signatures.len() < SIGNATURES_MAX {
            self.signatures.push(signature);
        }
    }

    /// The signatures of known keys. Others are ignored, also when only the name or only the id is known.
    ///
    /// # Errors
    /// When a known key's signature does not hold, and when no known key signed.
    pub fn verify<'k>(&self, keys: impl IntoIterator<Item = &'k Vkey> + Clone) -> Result<Vec<Verified<'k>>, NoteError> {
        let mut verified: Vec<Verified<'k>> = Vec::new();
        for signature in &self.signatures {
            let known = keys.clone().into_iter().find(|key| key.name == signature.name && key.id == signature.id);
            let Some(key) = known else { continue };
            let time = key.check(&self.text, &signature.bytes).ok_or_else(|| NoteError::Invalid(key.name.clone()))?;
            if !verified.iter().any(|other| other.key == key) {
                verified.push(Verified { key, time });
            }
        }
        if verified.is_empty() { Err(NoteError::Unsigned) } else { Ok(verified) }
    }
}

impl Signature {
    /// Reads `— <name> <base64 of id and signature>`.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        if !is_name(name) || encoded.len() > SIGNATURE_MAX {
            return None;
        }
        let bytes = BASE64.decode(encoded.as_bytes()).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<4>()?;
        (!bytes.is_empty()).then(|| Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.as_slice(), &self.bytes].concat();
        write!(f, "{DASH}{} {}", self.name, BASE64.encode(&bytes))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}
