//! Status lists of an issuer (draft-ietf-oauth-status-list-21): a file of what is not valid, and tokens signed of it.
//!
//! The files are the truth: `status-lists/<id>.toml`, changed under a lock and replaced as a whole. A token is made of one whenever it is
//! asked for, or has lived half of its `ttl`; nothing else is kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use data_encoding::BASE64URL_NOPAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

use super::keys::issuer::{IssuerKey, KeyError};
use crate::judge::status::{DECODED_MAX_BYTES, STATUS_LIST_MAX_BYTES};
use crate::values::json::{Json, Object};
use crate::values::{PublicUrl, Timestamp};

/// `typ` of the tokens (section 5.1).
pub const TYPE: &str = "statuslist+jwt";
/// Lists of a directory: as many as an aggregation is read of.
const LISTS_MAX: usize = 10_000;

/// Why a list cannot be read, changed or signed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is in it, or is to be.
    #[error("{path}: {rule}")]
    Rule {
        /// Which file.
        path: PathBuf,
        /// What does not hold.
        rule: String,
    },
    /// The key.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// A list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusListFile {
    /// Where it is published: what statements name.
    pub uri: String,
    /// Bits of an entry: 1 for valid and invalid, 2 for suspended too.
    pub bits: u8,
    /// How many entries it has. It may grow, and never shrinks.
    pub size: u64,
    /// How soon verifiers should ask again, in seconds.
    pub ttl_s: u64,
    /// How long a token may be used, in seconds.
    pub lifetime_s: u64,
    /// Where the issuer's lists are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation_uri: Option<String>,
    /// The entries that are not valid, by index: 1 invalid, 2 suspended.
    #[serde(default)]
    pub entries: BTreeMap<String, u8>,
}

impl StatusListFile {
    /// The rules of a list.
    ///
    /// # Errors
    /// Names the member and the rule.
    pub fn check(&self) -> Result<(), String> {
        PublicUrl::parse(&self.uri).map_err(|error| format!("uri: {error}"))?;
        if ![1, 2, 4, 8].contains(&self.bits) {
            return Err("bits: 1, 2, 4 or 8".to_owned());
        }
        let bytes = self.size.div_ceil(u64::from(8 / self.bits));
        if self.size == 0 || bytes > u64::try_from(DECODED_MAX_BYTES).unwrap_or(u64::MAX) {
            return Err(format!("size: at least 1, and at most {DECODED_MAX_BYTES} bytes of entries"));
        }
        if self.ttl_s == 0 || self.lifetime_s < self.ttl_s {
            return Err("ttl_s is at least 1, and lifetime_s not less".to_owned());
        }
        for (index, status) in &self.entries {
            let index = index.parse::<u64>().ok().filter(|number| number.to_string() == *index);
            if index.is_none_or(|index| index >= self.size) {
                return Err(format!("entries: an index is a number from 0 to {}", self.size.saturating_sub(1)));
            }
            if *status == 0 || self.bits < 8 && status.checked_shr(u32::from(self.bits)).unwrap_or(0) > 0 {
                return Err(format!("entries: {status} is no status of {} bits; what is valid is not listed", self.bits));
            }
        }
        Ok(())
    }

    /// Sets entries; 0 is valid.
    pub fn set(&mut self, indexes: &[u64], status: u8) {
        for index in indexes {
            let index = index.to_string();
            if status == 0 {
                self.entries.remove(&index)
            } else {
                self.entries.insert(index, status)
            };
        }
    }

    /// A token of the list as it is.
    ///
    /// # Errors
    /// When it would be too large for verifiers, or OpenSSL refuses the key.
    pub fn sign(&self, key: &IssuerKey, at: Timestamp) -> Result<String, ListError> {
        let rule = |rule: String| ListError::Rule { path: self.uri.clone().into(), rule };
        let packed = self.packed().map_err(|error| rule(error.to_string()))?;
        let seconds = |after: u64| Json::Integer(at.as_secs().saturating_add(after));
        let mut list = Object::default();
        list.set("bits", Json::Integer(u64::from(self.bits)));
        list.set("lst", Json::String(packed));
        if let Some(uri) = &self.aggregation_uri {
            list.set("aggregation_uri", Json::String(uri.clone()));
        }
        let mut claims = Object::default();
        claims.set("sub", Json::String(self.uri.clone()));
        claims.set("iat", seconds(0));
        claims.set("exp", seconds(self.lifetime_s));
        claims.set("ttl", Json::Integer(self.ttl_s));
        claims.set("status_list", Json::Object(list));
        let token = key.sign(TYPE, &claims)?;
        if token.len() > STATUS_LIST_MAX_BYTES {
            return Err(rule(format!("the token has {} bytes; verifiers take {STATUS_LIST_MAX_BYTES}", token.len())));
        }
        Ok(token)
    }

    /// Section 4.1: the first entry in the lowest bits of the first byte; ZLIB; base64url.
    fn packed(&self) -> io::Result<String> {
        let each = u64::from(8 / self.bits.max(1));
        let mut bytes = vec![0_u8; usize::try_from(self.size.div_ceil(each)).unwrap_or(0)];
        for (index, status) in &self.entries {
            let index = index.parse::<u64>().map_err(io::Error::other)?;
            let shift = u32::try_from(index % each).unwrap_or(0).saturating_mul(u32::from(self.bits));
            if let Some(byte) = usize::try_from(index / each).ok().and_then(|place| bytes.get_mut(place)) {
                *byte |= status.checked_shl(shift).unwrap_or(0);
            }
        }
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        Ok(BASE64URL_NOPAD.encode(&encoder.finish()?))
    }
}

/// The lists of a publisher's directory.
#[derive(Clone, Debug)]
pub struct StatusLists {
    dir: PathBuf,
}

impl StatusLists {
    /// Below a publisher's directory.
    #[must_use]
    pub fn of(publisher: &Path) -> Self {
        Self { dir: publisher.join("status-lists") }
    }

    /// The ids of all lists, in order.
    ///
    /// # Errors
    /// When the directory cannot be read, or has too many.
    pub fn ids(&self) -> Result<Vec<String>, ListError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(self.io(&self.dir))? {
            let name = entry.map_err(self.io(&self.dir))?.file_name();
            ids.extend(name.to_str().and_then(|name| name.strip_suffix(".toml")).filter(|id| is_id(id)).map(str::to_owned));
        }
        if ids.len() > LISTS_MAX {
            return Err(ListError::Rule { path: self.dir.clone(), rule: format!("more than {LISTS_MAX} lists") });
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads a list.
    ///
    /// # Errors
    /// When it cannot be read or breaks a rule.
    pub fn read(&self, id: &str) -> Result<StatusListFile, ListError> {
        let path = self.path(id, "toml")?;
        let text = fs::read_to_string(&path).map_err(self.io(&path))?;
        let rule = |rule: String| ListError::Rule { path: path.clone(), rule };
        let list: StatusListFile = toml::from_str(&text).map_err(|error| rule(error.message().to_owned()))?;
        list.check().map_err(rule)?;
        Ok(list)
    }

    /// Makes a list.
    ///
    /// # Errors
    /// When there is one, or it breaks a rule.
    pub fn create(&self, id: &str, list: &StatusListFile) -> Result<(), ListError> {
        fs::create_dir_all(&self.dir).map_err(self.io(&self.dir))?;
        let _lock = self.lock()?;
        let path = self.path(id, "toml")?;
        if path.exists() {
            return Err(ListError::Rule { path, rule: "there is a list of this name already".to_owned() });
        }
        self.put(id, list)
    }

    /// Changes a list: reads it, and replaces it, while nobody else does.
    ///
    /// # Errors
    /// When it cannot be read, or what it comes to breaks a rule; then nothing was changed.
    pub fn change(&self, id: &str, change: impl FnOnce(&mut StatusListFile)) -> Result<StatusListFile, ListError> {
        let _lock = self.lock()?;
        let mut list = self.read(id)?;
        change(&mut list);
        self.put(id, &list)?;
        Ok(list)
    }

    /// Writes a token of a list beside it, for any web server to serve. Says where.
    ///
    /// # Errors
    /// As [`StatusListFile::sign`], and when it cannot be written.
    pub fn sign(&self, id: &str, key: &IssuerKey, at: Timestamp) -> Result<PathBuf, ListError> {
        let token = self.read(id)?.sign(key, at)?;
        let path = self.path(id, "jwt")?;
        self.replace(&path, &token)?;
        Ok(path)
    }

    /// The document of section 9.2: the URIs of all lists.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn aggregation(&self) -> Result<String, ListError> {
        let uris: Result<Vec<String>, ListError> = self.ids()?.iter().map(|id| Ok(self.read(id)?.uri)).collect();
        Ok(serde_json::json!({ "status_lists": uris? }).to_string())
    }

    /// Whether the file of a list is another one than at a moment before: its length and time.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn stamp(&self, id: &str) -> Result<(u64, std::time::SystemTime), ListError> {
        let path = self.path(id, "toml")?;
        let look = || fs::metadata(&path).and_then(|file| Ok((file.len(), file.modified()?)));
        look().map_err(self.io(&path))
    }

    fn put(&self, id: &str, list: &StatusListFile) -> Result<(), ListError> {
        let path = self.path(id, "toml")?;
        let rule = |rule: String| ListError::Rule { path: path.clone(), rule };
        list.check().map_err(rule)?;
        let text = toml::to_string(list).map_err(|error| rule(error.to_string()))?;
        self.replace(&path, &text)
    }

    fn replace(&self, path: &Path, text: &str) -> Result<(), ListError> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        crate::evidence::replace_file(&crate::evidence::Disk, &self.dir, name, text).map_err(self.io(path))
    }

    fn lock(&self) -> Result<File, ListError> {
        let path = self.dir.join(".lock");
        let take = || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        take().map_err(self.io(&path))
    }

    fn path(&self, id: &str, extension: &str) -> Result<PathBuf, ListError> {
        if is_id(id) {
            return Ok(self.dir.join(format!("{id}.{extension}")));
        }
        let rule = "the name of a list has letters, digits, `-` and `_`, at most 64".to_owned();
        Err(ListError::Rule { path: id.into(), rule })
    }

    #[expect(clippy::unused_self, reason = "reads as the others do")]
    fn io(&self, path: &Path) -> impl Fn(io::Error) -> ListError {
        let path = path.to_owned();
        move |source| ListError::Io { path: path.clone(), source }
    }
}

/// It is a file's name and a part of a URL's path.
fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=64).contains(&id.len()) && id.bytes().all(plain)
}
