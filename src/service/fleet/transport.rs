//! How a feed is asked: over HTTP, or over NATS.

use std::path::Path;
use std::time::Duration;

use super::subject::Subject;
use crate::config::{Config, is_replica};
use crate::fetch::Poster;
use crate::revocation::feed::{PAGE_BYTES, PAGE_LINES, Page, WAIT_MAX_MS};
use crate::revocation::kill_log::{MAX_LINE, is_nonce};

/// Most bytes of an answer: the lines of a page, one that is longer than a page, a head, and what JSON puts around each.
pub(super) const ANSWER_MAX: usize = PAGE_BYTES + MAX_LINE + (64 << 10);
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

impl Question {
    /// Whether it may be asked.
    ///
    /// # Errors
    /// The member at fault and the rule that it breaks.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.wait > Duration::from_millis(WAIT_MAX_MS) {
            return Err(("wait_ms", format!("more than {WAIT_MAX_MS}")));
        }
        if self.limit > PAGE_LINES {
            return Err(("limit", format!("more than {PAGE_LINES}")));
        }
        if self.nonce.as_deref().is_some_and(|nonce| !is_nonce(nonce)) {
            return Err(("nonce", "not 16 to 64 characters of base64url".into()));
        }
        if self.replica.as_deref().is_some_and(|name| !is_replica(name)) {
            return Err(("replica", "not `region/replica`".into()));
        }
        Ok(())
    }
}

/// What came of a question.
pub(super) enum Heard {
    /// Its answer.
    Answer(Page),
    /// Lines that came before the answer: orders that do not wait for it, and prove nothing about those after them.
    Unasked(Vec<String>),
}

/// A feed that can be asked.
pub(super) enum Feed {
    Http(Http),
    Nats(Box<Subject>),
}

impl Feed {
    /// Reads the token. The configuration has checked the URL.
    pub(super) fn new(config: &Config, poster: &Poster) -> Result<Self, String> {
        let token = token_of("feed_token_file", &config.revocation.feed_token_file)?;
        let url = config.revocation.feed.clone();
        if url.starts_with("nats:") {
            return Ok(Self::Nats(Box::new(Subject::new(config, token)?)));
        }
        Ok(Self::Http(Http { url, token, poster: poster.clone() }))
    }

    pub(super) fn url(&self) -> &str {
        match self {
            Self::Http(http) => &http.url,
            Self::Nats(subject) => subject.url(),
        }
    }

    /// What comes of a question within its wait and this much more; or one sentence why nothing does.
    pub(super) async fn ask(&self, question: &Question, patience: Duration) -> Result<Heard, String> {
        match self {
            Self::Http(http) => http.ask(question, patience).await.map(Heard::Answer),
            Self::Nats(subject) => subject.ask(question, patience).await,
        }
    }

    /// The writer's head, for a question of somebody else.
    pub(super) async fn head(&self, question: &Question, patience: Duration) -> Result<String, String> {
        let page = match self {
            Self::Http(http) => http.ask(question, patience).await?,
            Self::Nats(subject) => subject.ask_writer(question, patience).await?,
        };
        page.head.ok_or_else(|| "the answer has no head".to_owned())
    }

    /// What came that nobody who is believed has signed, since this was asked last.
    pub(super) fn strange(&self) -> Option<String> {
        match self {
            Self::Http(_) => None,
            Self::Nats(subject) => subject.strange(),
        }
    }
}

/// The feed of another Countersign.
pub(super) struct Http {
    url: String,
    token: Option<String>,
    poster: Poster,
}

impl Http {
    async fn ask(&self, question: &Question, patience: Duration) -> Result<Page, String> {
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

/// The token of a file, if one is named by this key of the configuration.
pub(super) fn token_of(key: &str, file: &Path) -> Result<Option<String>, String> {
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    read_token(file).map(Some).map_err(|why| format!("revocation.{key}: {}: {why}", file.display()))
}

/// The bearer token in a file.
pub(in crate::service) fn read_token(file: &Path) -> Result<String, String> {
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
