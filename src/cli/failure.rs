//! A failure of the machinery, as one line: what, where, what to do.

use std::fmt;

use super::exit;
use countersign::archive::ArchiveError;
use countersign::evidence::OpenError as EvidenceError;
use countersign::keep::KeepError;
use countersign::listing::VerifyError;
use countersign::revocation::kill_log::KillLogError;
use countersign::service::OpenError;

/// A failure. Not a denial: nothing is known about the client.
#[derive(Debug)]
pub(crate) struct Failure {
    place: String,
    what: String,
    advice: &'static str,
    exit: u8,
}

impl Failure {
    /// What failed where, and what to do about it.
    pub(crate) fn new(place: impl fmt::Display, what: impl fmt::Display, advice: &'static str) -> Self {
        Self { place: place.to_string(), what: one_line(&what.to_string()), advice, exit: exit::FAILURE }
    }

    /// The command line is at fault, not the machinery.
    pub(crate) fn usage(self) -> Self {
        Self { exit: exit::USAGE, ..self }
    }

    /// The disk is at fault, and only a new process can know how things are.
    pub(crate) fn io(self) -> Self {
        Self { exit: exit::IO, ..self }
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, advice, .. } = self;
        write!(f, "{place}: {what}; {advice}")
    }
}

impl From<countersign::config::ConfigError> for Failure {
    fn from(error: countersign::config::ConfigError) -> Self {
        let unreadable = error.rule.contains("os error");
        let advice = if unreadable {
            "name a readable file with --config, or none for the built-in defaults"
        } else {
            "correct that key; examples/countersign.toml explains each"
        };
        Self::new(error.place, error.rule, advice)
    }
}

impl From<countersign::judge::anchors::AnchorError> for Failure {
    fn from(error: countersign::judge::anchors::AnchorError) -> Self {
        Self::new(error.file, error.rule, "correct the file; `countersign anchors check` shows all that is wrong")
    }
}

impl From<countersign::judge::RulesError> for Failure {
    fn from(error: countersign::judge::RulesError) -> Self {
        match error {
            countersign::judge::RulesError::Anchor(error) => error.into(),
            error @ countersign::judge::RulesError::Policies(_) => {
                Self::new("policies", error, "correct the policy; `countersign policy check` shows all that is wrong")
            }
        }
    }
}

impl From<KeepError> for Failure {
    fn from(error: KeepError) -> Self {
        let advice = match &error {
            KeepError::Url { .. } => "see `countersign evidence pull --help` for what the environment has to say",
            KeepError::Store { .. } => {
                "check the URL, the credentials in the environment, and the network; nothing was lost, so try again"
            }
            KeepError::Taken { .. } => "give each replica its own `replica` or `evidence.seal`",
            KeepError::Damaged { .. } => "keep the store as it is: its versions or replicas may have what is missing",
            _ => "check the directory and its permissions",
        };
        Self::new("keep", error, advice)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let advice = match &error {
            OpenError::Rules(error) => return error.clone().into(),
            OpenError::KillLog(KillLogError::Locked { .. }) | OpenError::Evidence(EvidenceError::Locked { .. }) => {
                "name that server with --server http://HOST:PORT"
            }
            OpenError::Evidence(EvidenceError::Damaged(_)) => "keep the directory as it is, and restore it from a backup",
            OpenError::Fetcher(_) => "correct `fetch.extra_roots`, or install the system's root certificates",
            _ => "see `countersign doctor`",
        };
        Self::new("cannot start", error, advice)
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Self {
        let advice = match &error {
            ArchiveError::NoSuchDecision(_) => "or name another data directory with --data-dir",
            ArchiveError::Sealed(countersign::sealed::SealedError::Locked(_)) => "or stop it first",
            ArchiveError::Sealed(countersign::sealed::SealedError::Differs { .. }) => {
                "believe the log: delete the `parquet` directory of that epoch and run `countersign evidence seal`"
            }
            ArchiveError::Sealed(_) => "the log itself is whole: `countersign evidence verify` shows it",
            _ => "run `countersign evidence verify` for the extent of it",
        };
        Self::new("evidence", error, advice)
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        let advice = match error {
            VerifyError::Archive(error) => return error.into(),
            VerifyError::Key(_) => "give it with --vkey; `countersign evidence key` prints it where the log is",
            VerifyError::Checkpoint { .. } | VerifyError::Proof { .. } => {
                "do not rely on this log; run `countersign evidence verify` for the extent of it"
            }
        };
        Self::new("evidence", error, advice)
    }
}

/// Joins the lines of a message and drops the source excerpts that TOML errors draw: `2 | key = x` and `  |   ^^^`.
pub(crate) fn one_line(text: &str) -> String {
    let drawn = |line: &&str| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ').starts_with('|');
    let lines: Vec<&str> = text.lines().filter(|line| !drawn(line)).map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_errors_become_one_line() {
        let error = toml::from_str::<toml::Table>("a = 1\nb = = 2\n").unwrap_err().to_string();
        let line = Failure::new("c.toml", error, "correct it").to_string();
        assert_eq!(line.lines().count(), 1, "{line}");
        insta::assert_snapshot!(line);
    }
}
