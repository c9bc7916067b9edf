//! Loads the rules from disk and swaps them while running. A bad reload is refused and the old rules stay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::evidence::MAX_BLOB;
use crate::judge::anchors::{AnchorError, AnchorFile, referenced_files};
use crate::judge::{Rules, RulesSource};
use crate::record::Changes;

/// Most anchors, and the largest file: both far above what people can review.
const ANCHORS_MAX: usize = 10_000;
const FILE_MAX_BYTES: u64 = 1_048_576;

/// Reads the trust anchors that the configuration names. An absent directory holds none: every client is denied.
///
/// # Errors
/// Names the file, the key and the rule.
pub fn load(config: &Config) -> Result<Rules, AnchorError> {
    refuse_policies(&config.policies)?;
    let mut anchors = Vec::new();
    let mut files = BTreeMap::new();
    for path in toml_files(&config.trust_anchors)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let anchor = AnchorFile { text: read(&path)?, name };
        if let Some(referenced) = referenced_files(&anchor)? {
            let text = read(&config.trust_anchors.join(&referenced))?;
            files.insert(referenced, text);
        }
        anchors.push(anchor);
    }
    let rules = Rules::parse(RulesSource {
        issuer: config.issuer.clone(),
        profile: config.profile,
        knobs: config.metadata,
        bounds: config.bounds(),
        document_max_bytes: config.fetch.document_max_bytes,
        allow_networks: config.fetch.allow_networks.clone(),
        anchors,
        files,
    })?;
    // Every decision names its rules by digest, so they must fit into the evidence. Found out here the old ones stay; found out by
    // the log there would be no answers.
    if rules.bytes().len() > MAX_BLOB {
        let rule = format!("all anchors and their key files have {} bytes together; 1 MiB is the most", rules.bytes().len());
        return Err(AnchorError { file: config.trust_anchors.display().to_string(), rule });
    }
    Ok(rules)
}

/// The rules in force. Readers take a snapshot; a reload swaps the whole.
#[derive(Debug)]
pub struct LiveRules {
    config: Config,
    current: ArcSwap<Rules>,
}

impl LiveRules {
    /// Loads the rules for the first time.
    ///
    /// # Errors
    /// As [`load`].
    pub fn start(config: &Config) -> Result<Self, AnchorError> {
        Ok(Self { current: ArcSwap::from_pointee(load(config)?), config: config.clone() })
    }

    /// The rules in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Rules> {
        self.current.load_full()
    }

    /// The rules in force now, for a look that ends before anything is awaited.
    #[must_use]
    pub fn look(&self) -> arc_swap::Guard<Arc<Rules>> {
        self.current.load()
    }

    /// Loads them again and swaps. `None` when nothing changed.
    ///
    /// # Errors
    /// As [`load`]; the old rules stay in force.
    pub fn reload(&self) -> Result<Option<Arc<Rules>>, AnchorError> {
        let new = Arc::new(load(&self.config)?);
        if new.digest() == self.current.load().digest() {
            return Ok(None);
        }
        self.current.store(Arc::clone(&new));
        Ok(Some(new))
    }

    /// The directory to watch.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.config.trust_anchors
    }
}

/// What differs between two sets of rules, by id: anchors, compared by their text and that of the file they refer to, whatever their
/// files are called; and policies.
#[must_use]
pub fn changes(before: &Rules, after: &Rules) -> (Changes, Changes) {
    (differences(&anchor_texts(before), &anchor_texts(after)), Changes::default())
}

fn differences<T: PartialEq>(before: &BTreeMap<&str, T>, after: &BTreeMap<&str, T>) -> Changes {
    let ids = |one: &BTreeMap<&str, T>, takes: &dyn Fn(&str, &T) -> bool| -> Vec<String> {
        one.iter().filter(|(id, text)| takes(id, text)).map(|(id, _)| (*id).to_owned()).collect()
    };
    Changes {
        added: ids(after, &|id, _| !before.contains_key(id)),
        removed: ids(before, &|id, _| !after.contains_key(id)),
        changed: ids(after, &|id, text| before.get(id).is_some_and(|old| old != text)),
    }
}

/// The text of each anchor, and of the file that it refers to.
fn anchor_texts(rules: &Rules) -> BTreeMap<&str, (&str, Option<&str>)> {
    let RulesSource { anchors, files, .. } = rules.source();
    let texts = rules.anchors().iter().zip(anchors).map(|(anchor, file)| {
        let referenced = referenced_files(file).ok().flatten();
        (anchor.id.as_str(), (file.text.as_str(), referenced.and_then(|name| files.get(&name)).map(String::as_str)))
    });
    texts.collect()
}

fn toml_files(directory: &Path) -> Result<Vec<std::path::PathBuf>, AnchorError> {
    let fail = |rule: String| AnchorError { file: directory.display().to_string(), rule };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error.to_string())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fail(error.to_string()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    if files.len() > ANCHORS_MAX {
        return Err(fail(format!("more than {ANCHORS_MAX} anchors")));
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, AnchorError> {
    let fail = |rule: String| AnchorError { file: path.display().to_string(), rule };
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if size > FILE_MAX_BYTES {
        return Err(fail("larger than 1 MiB".into()));
    }
    std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))
}

/// Policies that are silently not evaluated would be worse than none.
fn refuse_policies(directory: &Path) -> Result<(), AnchorError> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "cedar") {
            let rule = "Cedar policies are not evaluated by this version; move the file away, the built-in policy holds";
            return Err(AnchorError { file: entry.path().display().to_string(), rule: rule.into() });
        }
    }
    Ok(())
}
