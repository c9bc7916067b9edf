//! The publisher of a federation (OpenID Federation 1.1): a trust anchor, or an intermediate.
//!
//! Files are the truth: `entity.toml`, `keys/*.jwk`, `subordinates/*.toml`. Everything that is signed is made of them whenever it is asked
//! for; so a member is removed by removing its file. What is signed about a member has the keys that were enrolled, never those that it
//! publishes at the moment (section 3.1.1: the superior attests them).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::keys::issuer::{IssuerKey, KeyError};
use super::keys::{KeyError as KeyFileError, file as key_file};
use crate::evidence::{Disk, create_dirs, replace_file};
use crate::judge::jwk::Algorithm;
use crate::values::{Digest, PublicUrl};

pub mod anchor;
pub mod claims;
pub mod enrol;
mod files;

pub use files::{Approval, Entity, EntityFile, Subordinate, SubordinateFile};

/// Most members. Their list is one answer (section 8.2 has no pages): about 4 MB, at 40 bytes each.
pub const SUBORDINATES_MAX: usize = 100_000;
/// Most keys: verifiers take 64 of a statement.
const KEYS_MAX: usize = 16;
/// Largest file that is read: what it becomes has at most [`claims::STATEMENT_MAX_BYTES`].
const FILE_MAX: u64 = 65_536;

/// Why a federation cannot be read, changed or signed.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// What is in it, or is to be.
    #[error("{path}: {rule}", path = path.display())]
    Rule {
        /// Which file.
        path: PathBuf,
        /// What does not hold.
        rule: String,
    },
    /// A key's file.
    #[error("{0}")]
    KeyFile(#[from] KeyFileError),
    /// A key.
    #[error("{0}")]
    Key(#[from] KeyError),
}

/// Length and time of a file: another one, another file.
type Stamp = (u64, SystemTime);

/// A federation, as its files say.
#[derive(Debug)]
pub struct Federation {
    /// The entity itself.
    pub entity: Arc<Entity>,
    /// All keys that are published; the one that signs is first.
    pub keys: Arc<[IssuerKey]>,
    /// The members, by entity identifier.
    pub members: BTreeMap<String, Arc<Subordinate>>,
    stamps: BTreeMap<PathBuf, (Stamp, Option<Arc<Subordinate>>)>,
}

/// The directory of a federation.
#[derive(Clone, Debug)]
pub struct Publisher {
    dir: PathBuf,
}

impl Publisher {
    /// Of a directory, which need not be there yet.
    #[must_use]
    pub const fn of(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Makes a federation with one key.
    ///
    /// # Errors
    /// When there is one, or it breaks a rule.
    pub fn create(&self, entity_id: &str, authority_hints: &[String], algorithm: Algorithm) -> Result<Digest, FederationError> {
        let keys = self.dir.join("keys");
        create_dirs(&Disk, &keys).map_err(io_at(&keys))?;
        let members = self.dir.join("subordinates");
        create_dirs(&Disk, &members).map_err(io_at(&members))?;
        let _lock = self.lock()?;
        let path = self.dir.join("entity.toml");
        if path.exists() {
            return Err(FederationError::Rule { path, rule: "there is a federation already".to_owned() });
        }
        let key = IssuerKey::generate(algorithm, None)?;
        let file = EntityFile::new(entity_id, authority_hints, key.kid());
        let text = file.to_toml().and_then(|text| Entity::parse(&text).map(|_| text));
        let text = text.map_err(|rule| FederationError::Rule { path: path.clone(), rule })?;
        let place = keys.join(format!("{}.jwk", key.kid()));
        key_file::create(&place, &key).map_err(io_at(&place))?;
        self.replace(&self.dir, "entity.toml", &text)?;
        Ok(Digest::of(text.as_bytes()))
    }

    /// Reads everything.
    ///
    /// # Errors
    /// Names the file and the rule.
    pub fn load(&self) -> Result<Federation, FederationError> {
        let (federation, broken) = self.reload(None)?;
        broken.into_iter().next().map_or(Ok(federation), Err)
    }

    /// Reads what changed since. A member's file that breaks a rule counts as it was before, so that a mistake in one neither removes it
    /// nor keeps others from being removed; what is wrong is told beside.
    ///
    /// # Errors
    /// When the entity or the keys cannot be read.
    pub fn reload(&self, before: Option<&Federation>) -> Result<(Federation, Vec<FederationError>), FederationError> {
        let path = self.dir.join("entity.toml");
        let text = read(&path)?;
        let entity = Entity::parse(&text).map_err(|rule| FederationError::Rule { path, rule })?;
        let keys = self.keys(&entity)?;
        let same = |old: &&Federation| {
            *old.entity == entity && old.keys.iter().map(IssuerKey::kid).eq(keys.iter().map(IssuerKey::kid))
        };
        let (entity, keys) = match before.filter(same) {
            Some(old) => (Arc::clone(&old.entity), Arc::clone(&old.keys)),
            None => (Arc::new(entity), keys.into()),
        };
        let mut federation = Federation { entity, keys, members: BTreeMap::new(), stamps: BTreeMap::new() };
        let mut broken = Vec::new();
        for path in listed(&self.dir.join("subordinates"), "toml", SUBORDINATES_MAX)? {
            let known = before.and_then(|old| old.stamps.get(&path)).cloned();
            let (stamp, member) = match one(&path, known.as_ref()) {
                // It was removed since the directory was read.
                Err(FederationError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
                Ok((stamp, member)) => (stamp, Some(member)),
                Err(error) => {
                    broken.push(error);
                    // Looked at again whatever its stamp.
                    ((0, SystemTime::UNIX_EPOCH), known.and_then(|(_, member)| member))
                }
            };
            federation.stamps.insert(path.clone(), (stamp, member.clone()));
            let Some(member) = member else { continue };
            if member.id() == federation.entity.id() {
                broken.push(FederationError::Rule { path, rule: "entity_id: an entity is no subordinate of itself".into() });
            } else if federation.members.contains_key(member.id()) {
                let rule = format!("entity_id: {} has another file already", member.id());
                broken.push(FederationError::Rule { path, rule });
            } else {
                federation.members.insert(member.id().to_owned(), member);
            }
        }
        Ok((federation, broken))
    }

    /// Enrols a member: writes its file. Says which, and its digest.
    ///
    /// # Errors
    /// When it is a member already, or breaks a rule.
    pub fn add(&self, member: &SubordinateFile) -> Result<(PathBuf, Digest), FederationError> {
        let _lock = self.lock()?;
        let (dir, name) = (self.dir.join("subordinates"), file_name(&member.entity_id));
        let path = dir.join(&name);
        let rule = |rule: String| FederationError::Rule { path: path.clone(), rule };
        let text = member.to_toml().map_err(rule)?;
        let checked = Subordinate::parse(&text).map_err(rule)?;
        let federation = self.load()?;
        if federation.members.contains_key(checked.id()) {
            return Err(rule(format!("{} is a member already; remove it first", checked.id())));
        }
        if checked.id() == federation.entity.id() {
            return Err(rule("entity_id: an entity is no subordinate of itself".into()));
        }
        if federation.members.len() >= SUBORDINATES_MAX {
            return Err(rule(format!("more than {SUBORDINATES_MAX} members")));
        }
        // What cannot be signed is not enrolled.
        claims::sign_statement(&federation, &checked, checked.until().minus(std::time::Duration::from_secs(1)))?;
        self.replace(&dir, &name, &text)?;
        Ok((path, Digest::of(text.as_bytes())))
    }

    /// Removes a member: its file goes to `removed/`. From then on nothing is signed about it. Says the digest of what was its file.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn remove(&self, id: &str) -> Result<Digest, FederationError> {
        let _lock = self.lock()?;
        let dir = self.dir.join("subordinates");
        let usual = dir.join(file_name(id));
        let is_it = |path: &Path| read(path).ok().and_then(|text| SubordinateFile::claimed_id(&text)).as_deref() == Some(id);
        let all = if is_it(&usual) { vec![usual] } else { listed(&dir, "toml", SUBORDINATES_MAX)? };
        let found = all.into_iter().find(|path| is_it(path));
        let path = found.ok_or_else(|| FederationError::Rule { path: dir.clone(), rule: format!("no member {id}") })?;
        let digest = Digest::of(read(&path)?.as_bytes());
        let removed = self.dir.join("removed");
        create_dirs(&Disk, &removed).map_err(io_at(&removed))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        fs::rename(&path, removed.join(name)).map_err(io_at(&path))?;
        crate::evidence::Storage::fsync_dir(&Disk, &dir).map_err(io_at(&dir))?;
        Ok(digest)
    }

    /// Writes what is signed to `signed/`, for any web server: the entity configuration, and a statement for each member. What is there
    /// of others is deleted. Says how many, and a digest of all of them.
    ///
    /// # Errors
    /// When something cannot be read, signed or written.
    pub fn sign(&self, at: crate::values::Timestamp) -> Result<(usize, Digest), FederationError> {
        let _lock = self.lock()?;
        let federation = self.load()?;
        let dir = self.dir.join("signed");
        create_dirs(&Disk, &dir).map_err(io_at(&dir))?;
        let mut tokens = vec![("entity-configuration.jwt".to_owned(), claims::sign_configuration(&federation, at)?.text)];
        for member in federation.members.values().filter(|member| at < member.until()) {
            let name = file_name(member.id()).replace(".toml", ".jwt");
            tokens.push((name, claims::sign_statement(&federation, member, at)?.text));
        }
        for path in listed(&dir, "jwt", SUBORDINATES_MAX.saturating_add(1))? {
            let name = path.file_name().and_then(|name| name.to_str());
            if !tokens.iter().any(|(kept, _)| Some(kept.as_str()) == name) {
                fs::remove_file(&path).map_err(io_at(&path))?;
            }
        }
        let mut all = String::new();
        for (name, token) in &tokens {
            self.replace(&dir, name, token)?;
            all.push_str(token);
            all.push('\n');
        }
        Ok((tokens.len(), Digest::of(all.as_bytes())))
    }

    /// Changes with each change of what directories list, and of the entity. Cheap: not with the content of members' files.
    #[must_use]
    pub fn stamp(&self) -> Vec<Option<Stamp>> {
        ["entity.toml", "keys", "subordinates"].iter().map(|name| stamp(&self.dir.join(name)).ok()).collect()
    }

    fn keys(&self, entity: &Entity) -> Result<Vec<IssuerKey>, FederationError> {
        let dir = self.dir.join("keys");
        let keys = listed(&dir, "jwk", KEYS_MAX)?.iter().map(|path| key_file::load(path)).collect::<Result<Vec<_>, _>>()?;
        let (mut signing, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.kid() == entity.signing_key());
        let rule = match signing.len() {
            0 => "signing_key: no key of `keys/` has that `kid`",
            1 => {
                signing.extend(others);
                let mut kids: Vec<&str> = signing.iter().map(IssuerKey::kid).collect();
                kids.sort_unstable();
                kids.dedup();
                if kids.len() == signing.len() {
                    return Ok(signing);
                }
                "two keys of `keys/` have one `kid`"
            }
            _ => "signing_key: two keys of `keys/` have that `kid`",
        };
        Err(FederationError::Rule { path: self.dir.join("entity.toml"), rule: rule.to_owned() })
    }

    #[expect(clippy::unused_self, reason = "reads as the others do")]
    fn replace(&self, dir: &Path, name: &str, text: &str) -> Result<(), FederationError> {
        replace_file(&Disk, dir, name, text).map_err(io_at(&dir.join(name)))
    }

    fn lock(&self) -> Result<File, FederationError> {
        let path = self.dir.join(".lock");
        let take = || {
            let file = File::create(&path)?;
            file.lock()?;
            Ok(file)
        };
        take().map_err(io_at(&path))
    }
}

impl Federation {
    /// The key that signs.
    ///
    /// # Errors
    /// Never of what was loaded: a federation has one.
    pub fn signing_key(&self) -> Result<&IssuerKey, FederationError> {
        let none = || FederationError::Rule { path: "keys".into(), rule: "no key".into() };
        self.keys.first().ok_or_else(none)
    }
}

/// Where an entity publishes its configuration (section 9): its identifier without a last slash, and the suffix. The identifier is checked
/// on the way (section 1.2): an https URL without query and fragment.
///
/// # Errors
/// Names the rule.
pub fn well_known(entity_id: &str) -> Result<PublicUrl, String> {
    if entity_id.contains('?') {
        return Err("an entity identifier has no query".to_owned());
    }
    let base = entity_id.strip_suffix('/').unwrap_or(entity_id);
    PublicUrl::parse(&format!("{base}/.well-known/openid-federation")).map_err(|error| error.to_string())
}

fn one(path: &Path, known: Option<&(Stamp, Option<Arc<Subordinate>>)>) -> Result<(Stamp, Arc<Subordinate>), FederationError> {
    let now = stamp(path).map_err(io_at(path))?;
    if let Some((then, Some(member))) = known
        && *then == now
    {
        return Ok((now, Arc::clone(member)));
    }
    let member = Subordinate::parse(&read(path)?);
    let member = member.map_err(|rule| FederationError::Rule { path: path.to_owned(), rule })?;
    Ok((now, Arc::new(member)))
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let file = fs::metadata(path)?;
    Ok((file.len(), file.modified()?))
}

fn read(path: &Path) -> Result<String, FederationError> {
    let length = fs::metadata(path).map_err(io_at(path))?.len();
    if length > FILE_MAX {
        let rule = format!("it has {length} bytes; {FILE_MAX} are the most");
        return Err(FederationError::Rule { path: path.to_owned(), rule });
    }
    fs::read_to_string(path).map_err(io_at(path))
}

/// The files of a directory that end so, in order; hidden ones and drafts are none.
fn listed(dir: &Path, extension: &str, most: usize) -> Result<Vec<PathBuf>, FederationError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_at(dir))? {
        let path = entry.map_err(io_at(dir))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
        if files.len() > most {
            return Err(FederationError::Rule { path: dir.to_owned(), rule: format!("more than {most} files") });
        }
    }
    files.sort();
    Ok(files)
}

/// A name that people recognise and that no two identifiers share.
fn file_name(entity_id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let readable: String = entity_id.trim_start_matches("https://").chars().take(80).map(plain).collect();
    let hex = data_encoding::HEXLOWER.encode(Digest::of(entity_id.as_bytes()).as_bytes());
    format!("{}-{}.toml", readable.trim_matches(['-', '.']), hex.get(..16).unwrap_or_default())
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> FederationError {
    let path = path.to_owned();
    move |source| FederationError::Io { path, source }
}
