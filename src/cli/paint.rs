//! Colors and marks. Without colors marks are ASCII words, so that a log or a screen reader loses nothing.

use std::io::IsTerminal;

use super::Color;

/// How to paint one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    color: bool,
}

/// How something came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    /// As it should.
    Good,
    /// Worth knowing.
    Warn,
    /// Not as it should.
    Bad,
    /// Not looked at.
    Skip,
}

impl Mark {
    /// The word in JSON.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Good => "pass",
            Self::Warn => "warn",
            Self::Bad => "fail",
            Self::Skip => "skip",
        }
    }
}

impl Paint {
    /// For a stream. `NO_COLOR` counts when it is set and not empty (no-color.org).
    pub(crate) fn new(choice: Color, stream: &impl IsTerminal) -> Self {
        let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let color = match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !unwanted() && !dumb(),
        };
        Self { color }
    }

    /// No colors, words for marks.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { color: false }
    }

    /// Colors and marks.
    #[cfg(test)]
    pub(crate) const fn colored() -> Self {
        Self { color: true }
    }

    /// `✓`, or `pass`: all words have one width, so that what follows is aligned.
    pub(crate) fn mark(self, mark: Mark) -> String {
        if !self.color {
            return match mark {
                Mark::Bad => "FAIL".into(),
                other => other.word().into(),
            };
        }
        match mark {
            Mark::Good => self.good("✓"),
            Mark::Warn => self.warn("!"),
            Mark::Bad => self.bad("✗"),
            Mark::Skip => self.dim("·"),
        }
    }

    /// `[ok]`, `[warn]`, `[fail]`, `[skip]`: what doctors print. Padded to one width.
    pub(crate) fn bracket(self, mark: Mark) -> String {
        match mark {
            Mark::Good => self.good("[ok]  "),
            Mark::Warn => self.warn("[warn]"),
            Mark::Bad => self.bad("[fail]"),
            Mark::Skip => self.dim("[skip]"),
        }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.code("32", text)
    }
    pub(crate) fn warn(self, text: &str) -> String {
        self.code("33", text)
    }
    pub(crate) fn bad(self, text: &str) -> String {
        self.code("31", text)
    }
    pub(crate) fn dim(self, text: &str) -> String {
        self.code("2", text)
    }
    pub(crate) fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    /// `error: …`, as one line.
    pub(crate) fn error_line(self, text: &str) -> String {
        format!("{} {text}", self.code("1;31", "error:"))
    }

    /// `warning: …`, as one line.
    pub(crate) fn warning_line(self, text: &str) -> String {
        format!("{} {text}", self.code("1;33", "warning:"))
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
