//! A failure of the machinery, as one line: what, where, what to do.

use std::fmt;

/// A failure. Not a denial: nothing is known about the client.
#[derive(Debug)]
pub(crate) struct Failure {
    place: String,
    what: String,
    advice: &'static str,
}

impl Failure {
    /// What failed where, and what to do about it.
    pub(crate) fn new(place: impl fmt::Display, what: impl fmt::Display, advice: &'static str) -> Self {
        Self { place: place.to_string(), what: one_line(&what.to_string()), advice }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, advice } = self;
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
