//! The built-in transport: the feed of another Countersign over HTTP.

use std::time::Duration;

use crate::config::Revocation;
use crate::fetch::Poster;
use crate::revocation::feed::{PAGE_BYTES, Page};
use crate::revocation::kill_log::MAX_LINE;

/// Most bytes of an answer: the lines of a page, one that is longer than a page, a head, and what JSON puts around each.
const ANSWER_MAX: usize = PAGE_BYTES + MAX_LINE + (64 << 10);
/// Most bytes of a bearer token: what servers take as one header.
const TOKEN_MAX: u64 = 4096;

/// What is asked of a feed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Question {
    /// Orders after this one; for a replica that says who it is, also the last order that is in force there.
    pub after: u64,
    /// How long to wait for news when there are none.
    pub wait: Duration,
    /// A fresh nonce, for a head.
    pub nonce: Option<String>,
    /// Who asks.
    pub replica: Option<String>,
    /// The most lines to answer with; 0 for the head alone.
    pub limit: usize,
}

/// Asks a feed.
pub(super) struct Feed {
    url: String,
    token: Option<String>,
    poster: Poster,
}

impl Feed {
    /// Reads the token. The configuration has checked the URL.
    pub(super) fn new(config: &Revocation, poster: &Poster) -> Result<Self, String> {
        let file = &config.feed_token_file;
        let token = match file.as_os_str().is_empty() {
            true => None,
            false => Some(read_token(file).map_err(|why| format!("revocation.feed_token_file: {}: {why}", file.display()))?),
        };
        Ok(Self { url: config.feed.clone(), token, poster: poster.clone() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The page that answers, within the wait and this much more; or one sentence why there is none.
    pub(super) async fn ask(&self, question: &Question, patience: Duration) -> Result<Page, String> {
        let url = format!("{}?{}", self.url, query(question));
        let within = question.wait.saturating_add(patience);
        match self.poster.get_as(&url, self.token.as_deref(), ANSWER_MAX, within).await? {
            (200, body) => serde_json::from_str(&body).map_err(|error| format!("the answer is no page of a kill log: {error}")),
            (status, body) => {
                let problem: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
                let detail = problem.get("detail").and_then(serde_json::Value::as_str).unwrap_or("no details were given");
                Err(format!("{status}: {}", detail.chars().take(300).collect::<String>()))
            }
        }
    }
}

fn query(question: &Question) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.append_pair("after", &question.after.to_string());
    query.append_pair("wait_ms", &question.wait.as_millis().to_string());
    query.append_pair("limit", &question.limit.to_string());
    for (name, value) in [("nonce", &question.nonce), ("replica", &question.replica)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    query.finish()
}

/// The bearer token in a file.
pub(in crate::service) fn read_token(file: &std::path::Path) -> Result<String, String> {
    if std::fs::metadata(file).map_err(|error| error.to_string())?.len() > TOKEN_MAX {
        return Err(format!("longer than {TOKEN_MAX} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let token = text.trim();
    let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    if plain { Ok(token.to_owned()) } else { Err("holds no token".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_written_as_queries() {
        let bare = Question { after: 7, limit: 5, wait: Duration::from_millis(1250), ..Question::default() };
        assert_eq!(query(&bare), "after=7&wait_ms=1250&limit=5");
        let asked = Question { nonce: Some("n-_".into()), replica: Some("eu/r&1".into()), ..bare };
        assert_eq!(query(&asked), "after=7&wait_ms=1250&limit=5&nonce=n-_&replica=eu%2Fr%261");
    }

    #[test]
    fn tokens() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        for (text, expect) in [("s3cret\n", Ok("s3cret")), ("", Err("no token")), ("a b", Err("no token"))] {
            std::fs::write(&file, text).unwrap();
            match (read_token(&file), expect) {
                (Ok(token), Ok(expect)) => assert_eq!(token, expect),
                (Err(why), Err(expect)) => assert!(why.contains(expect), "{why}"),
                (got, _) => panic!("{text:?}: {got:?}"),
            }
        }
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert!(read_token(&file).unwrap_err().contains("longer"));
    }
}
