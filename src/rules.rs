//! Loads the rules from disk and swaps them while running. A bad reload is refused and the old rules stay.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::evidence::Blob;
use crate::judge::anchors::{AnchorError, AnchorFile, referenced_files};
use crate::judge::policy::{PolicyError, PolicyFile, PolicySource};
use crate::judge::{Rules, RulesError, RulesSource};
use crate::record::Changes;

/// Most anchors, and the largest file: both far above what people can review.
const ANCHORS_MAX: usize = 10_000;
const FILE_MAX_BYTES: usize = 1 << 20;

/// Most `.cedar` files of a directory.
const POLICY_FILES_MAX: usize = 1000;

/// Reads the trust anchors and the policies that the configuration names. An absent directory of anchors holds none: every client is
/// denied. Without a directory of policies the built-in one holds.
///
/// # Errors
/// Names the file, the place and the rule.
pub fn load(config: &Config) -> Result<Rules, RulesError> {
    let policies = read_policies(&config.policies)?;
    let mut anchors = Vec::new();
    let mut files = BTreeMap::new();
    for path in listed(&config.trust_anchors, "toml", ANCHORS_MAX)?.unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let anchor = AnchorFile { text: read(&path, FILE_MAX_BYTES)?, name };
        for referenced in referenced_files(&anchor)? {
            let text = read(&config.trust_anchors.join(&referenced), FILE_MAX_BYTES)?;
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
        policies,
    })?;
    // Every decision names its rules by digest, so they must fit into the evidence. Found out here the old ones stay; found out by
    // the log there would be no answers.
    if !Blob::can_hold(rules.bytes()) {
        let rule = format!(
            "anchors, their key files and the policies have {} bytes together; 4 MiB, and 1 MiB compressed, is the most",
            rules.bytes().len()
        );
        return Err(AnchorError { file: config.trust_anchors.display().to_string(), rule }.into());
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
    pub fn start(config: &Config) -> Result<Self, RulesError> {
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
    pub fn reload(&self) -> Result<Option<Arc<Rules>>, RulesError> {
        let new = Arc::new(load(&self.config)?);
        if new.digest() == self.current.load().digest() {
            return Ok(None);
        }
        self.current.store(Arc::clone(&new));
        Ok(Some(new))
    }

    /// The directories to watch.
    #[must_use]
    pub fn directories(&self) -> [&Path; 2] {
        [&self.config.trust_anchors, &self.config.policies]
    }
}

/// What differs between two sets of rules, by id: anchors, compared by their text and that of the file they refer to, whatever their
/// files are called; and policies.
#[must_use]
pub fn changes(before: &Rules, after: &Rules) -> (Changes, Changes) {
    (differences(&anchor_texts(before), &anchor_texts(after)), differences(&policy_texts(before), &policy_texts(after)))
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

/// The text of each policy by its `@id`, wherever it is; the groups of tools and scopes count as one more.
fn policy_texts(rules: &Rules) -> BTreeMap<&str, &str> {
    let groups = rules.source().policies.entities.as_deref().map(|entities| ("entities.json", entities));
    rules.policies().rules().iter().map(|rule| (&*rule.id, &*rule.text)).chain(groups).collect()
}

/// The text of each anchor, and of the files that it refers to.
fn anchor_texts(rules: &Rules) -> BTreeMap<&str, (&str, Vec<&str>)> {
    let RulesSource { anchors, files, .. } = rules.source();
    let texts = rules.anchors().iter().zip(anchors).map(|(anchor, file)| {
        let referenced = referenced_files(file).unwrap_or_default();
        (
            anchor.id.as_str(),
            (file.text.as_str(), referenced.iter().filter_map(|name| files.get(name)).map(String::as_str).collect()),
        )
    });
    texts.collect()
}

/// The policies of a directory; the built-in one when there is no directory.
///
/// # Errors
/// Names the file and the rule.
pub fn read_policies(directory: &Path) -> Result<PolicySource, RulesError> {
    let Some(paths) = listed(directory, "cedar", POLICY_FILES_MAX)? else { return Ok(PolicySource::default()) };
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = |path: &Path| {
        let fail = |AnchorError { file, rule }| RulesError::Policies(vec![PolicyError { file, place: None, rule }]);
        read(path, crate::judge::policy::FILE_MAX_BYTES).map_err(fail)
    };
    let file = |path: &std::path::PathBuf| Ok(PolicyFile { name: name(path), text: text(path)? });
    let files = paths.iter().map(file).collect::<Result<_, RulesError>>()?;
    let entities = directory.join("entities.json");
    let entities = if entities.exists() { Some(text(&entities)?) } else { None };
    Ok(PolicySource { files, entities })
}

/// The files of a directory with an extension, by name; `None` when there is no directory.
fn listed(directory: &Path, wanted: &str, most: usize) -> Result<Option<Vec<std::path::PathBuf>>, AnchorError> {
    let fail = |rule: String| AnchorError { file: directory.display().to_string(), rule };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error.to_string())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| fail(error.to_string()))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|extension| extension == wanted) && !hidden {
            files.push(path);
        }
    }
    if files.len() > most {
        return Err(fail(format!("more than {most} `.{wanted}` files")));
    }
    files.sort();
    Ok(Some(files))
}

fn read(path: &Path, most: usize) -> Result<String, AnchorError> {
    let fail = |rule: String| AnchorError { file: path.display().to_string(), rule };
    let size = std::fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
    if usize::try_from(size).unwrap_or(usize::MAX) > most {
        return Err(fail(format!("larger than {} MiB", most >> 20)));
    }
    std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))
}
