//! Which signatures a checkpoint needs to be believed (c2sp.org/tlog-policy).

use super::checkpoint::Checkpoint;
use super::note::{Note, NoteError, Vkey, VkeyError};

/// The most logs, witnesses and groups, each. The specification asks for at least 32.
const EACH_MAX: usize = 64;
/// The longest policy file.
const FILE_MAX: usize = 64 << 10;

/// Logs that are known, witnesses, and how many of which must have cosigned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    logs: Vec<Vkey>,
    witnesses: Vec<(String, Vkey)>,
    groups: Vec<Group>,
    quorum: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<String>,
}

/// Why a file is not a policy, or a checkpoint is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PolicyError {
    /// A line of the file is wrong.
    #[error("policy line {line}: {what} (c2sp.org/tlog-policy)")]
    Line {
        /// Which one, from 1; the line after the last when something is missing.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The note is not believed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] super::CheckpointError),
    /// No known log signed it under its own name.
    #[error("the checkpoint of {0:?} is not signed by a log that the policy knows")]
    Log(String),
    /// Too few witnesses cosigned.
    #[error("the checkpoint lacks cosignatures: the quorum {0:?} is not met")]
    Quorum(String),
}

impl Policy {
    /// That one key signed, and no witness is asked for.
    #[must_use]
    pub fn of_log(key: Vkey) -> Self {
        Self { logs: vec![key], witnesses: Vec::new(), groups: Vec::new(), quorum: None }
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// Names the line and the rule.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > FILE_MAX {
            return Err(PolicyError::Line { line: 1, what: "the file is longer than 64 KiB".into() });
        }
        let mut policy = Self { logs: Vec::new(), witnesses: Vec::new(), groups: Vec::new(), quorum: None };
        let mut quorum = false;
        let mut last = 0;
        for (number, line) in (1..).zip(text.lines()) {
            last = number;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let bad = |what: &str| PolicyError::Line { line: number, what: what.to_owned() };
            let key = |text: &str| text.parse().map_err(|error: VkeyError| bad(&error.to_string()));
            match words.as_slice() {
                [] => {}
                [word, ..] if word.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => policy.logs.push(key(vkey)?),
                ["witness", name, vkey] | ["witness", name, vkey, _] => {
                    policy.claim(name).map_err(bad)?;
                    policy.witnesses.push(((*name).to_owned(), key(vkey)?));
                }
                ["group", name, threshold, members @ ..] => {
                    policy.claim(name).map_err(bad)?;
                    let group = policy.group(name, threshold, members).map_err(bad)?;
                    policy.groups.push(group);
                }
                ["quorum", _] if quorum => return Err(bad("there is a second `quorum`")),
                ["quorum", name] => {
                    quorum = true;
                    if *name != "none" && !policy.knows(name) {
                        return Err(bad("the quorum names nothing that a line before it defines"));
                    }
                    policy.quorum = (*name != "none").then(|| (*name).to_owned());
                }
                _ => return Err(bad("expected `log`, `witness`, `group` or `quorum` with their values")),
            }
            if [policy.logs.len(), policy.witnesses.len(), policy.groups.len()].iter().any(|count| *count > EACH_MAX) {
                return Err(bad("more than 64 logs, witnesses or groups"));
            }
        }
        let missing = |what: &str| PolicyError::Line { line: last + 1, what: what.to_owned() };
        match (quorum, policy.logs.is_empty()) {
            (false, _) => Err(missing("there is no `quorum`; write `quorum none` to ask for no witness")),
            (true, true) => Err(missing("there is no `log`")),
            (true, false) => Ok(policy),
        }
    }

    /// Believes a checkpoint, or says why not: a known log must have signed it under its own name, and the quorum have cosigned.
    ///
    /// # Errors
    /// As [`PolicyError`] says.
    pub fn check(&self, note: &Note) -> Result<Checkpoint, PolicyError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let witnesses = self.witnesses.iter().map(|(_, key)| key);
        let verified = note.verify(self.logs.iter().chain(witnesses))?;
        if !verified.iter().any(|by| by.key.name() == checkpoint.origin && self.logs.contains(by.key)) {
            return Err(PolicyError::Log(checkpoint.origin));
        }
        let met = self.met(&|key| verified.iter().any(|by| by.key == key));
        match &self.quorum {
            Some(quorum) if !met.contains(&quorum.as_str()) => Err(PolicyError::Quorum(quorum.clone())),
            _ => Ok(checkpoint),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.witnesses.iter().any(|(known, _)| known == name) || self.groups.iter().any(|group| group.name == name)
    }

    /// Whether a name is free.
    fn claim(&self, name: &str) -> Result<(), &'static str> {
        if name == "none" || self.knows(name) { Err("the name is taken") } else { Ok(()) }
    }

    /// Members must be defined before, so a group cannot contain itself.
    fn group(&self, name: &str, threshold: &str, members: &[&str]) -> Result<Group, &'static str> {
        if members.is_empty() || members.len() > EACH_MAX || !members.iter().all(|member| self.knows(member)) {
            return Err("a group has 1 to 64 members, each defined on a line before it");
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            number => number.parse().map_err(|_| "the threshold is not `any`, `all` or a number")?,
        };
        if !(1..=members.len()).contains(&threshold) {
            return Err("the threshold is not between 1 and the number of members");
        }
        if (1..).zip(members).any(|(next, member)| members.iter().skip(next).any(|other| other == member)) {
            return Err("a member is named twice");
        }
        Ok(Group { name: name.to_owned(), threshold, members: members.iter().map(|member| (*member).to_owned()).collect() })
    }

    /// The names that hold, given who signed. Groups name only what is before them, so one pass is enough.
    fn met(&self, signed: &dyn Fn(&Vkey) -> bool) -> Vec<&str> {
        let holding = self.witnesses.iter().filter(|(_, key)| signed(key));
        let mut met: Vec<&str> = holding.map(|(name, _)| name.as_str()).collect();
        for group in &self.groups {
            let count = group.members.iter().filter(|member| met.contains(&member.as_str())).count();
            if count >= group.threshold {
                met.push(&group.name);
            }
        }
        met
    }
}
