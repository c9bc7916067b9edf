//! REF: how the command line names a client. A URL, a compact JWS, `@file`, or `-` for stdin.

use std::io::Read as _;
use std::path::Path;

use super::context::read_file;
use super::failure::Failure;

/// Most bytes that are read from stdin. Nothing that we understand is larger.
const STDIN_MAX: u64 = 1_048_576;

/// What REF stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Reference {
    /// The text itself: an identifier or a compact JWS.
    Text(String),
    /// The content of a file or of stdin, and its name for messages.
    Content(String, Vec<u8>),
}

impl Reference {
    /// Reads what REF stands for.
    pub(crate) fn read(text: &str) -> Result<Self, Failure> {
        if text == "-" {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().take(STDIN_MAX).read_to_end(&mut bytes);
            read.map_err(|error| Failure::new("stdin", error, "pipe a document or a statement in"))?;
            return Ok(Self::of_content("stdin", bytes));
        }
        match text.strip_prefix('@') {
            Some(path) => {
                let bytes = read_file(Path::new(path), "name a readable file after `@`")?;
                Ok(Self::of_content(path, bytes))
            }
            None => Ok(Self::Text(text.to_owned())),
        }
    }

    /// A file that holds one line with an identifier or a statement stands for that; anything else is content.
    fn of_content(name: &str, bytes: Vec<u8>) -> Self {
        let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
        let one = !text.is_empty() && !text.starts_with(['{', '[']) && !text.contains(char::is_whitespace);
        if one { Self::Text(text.to_owned()) } else { Self::Content(name.to_owned(), bytes) }
    }
}

/// RFC 7515 section 3.1: three base64url parts; a JWS's header starts with `{"`, which is `ey`.
pub(crate) fn is_jws(text: &str) -> bool {
    text.starts_with("ey") && text.split('.').count() == 3 && !text.contains([':', '/'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, text: bool) {
        let read = Reference::of_content("f", content.as_bytes().to_vec());
        assert_eq!(matches!(read, Reference::Text(_)), text, "{content:?}");
    }

    #[test]
    fn files_of_one_word_stand_for_it() {
        check("https://client.example/x\n", true);
        check("eyJhbGciOiJFUzI1NiJ9.e30.AA\n", true);
        check("{\"client_id\": 1}", false);
        check("{}", false);
        check("", false);
        check("two words", false);
        assert!(is_jws("eyJhbGciOiJFUzI1NiJ9.e30.AA") && !is_jws("https://ey.ey.ey/"));
    }
}
