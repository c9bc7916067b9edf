//! A kill log over NATS (standards F7), as a replica follows it: orders as they are published, or from the stream that keeps them, and the
//! writer's head by a question with a nonce, so that the lease counts from when the question left, as it does over HTTP.
//!
//! NATS is believed nothing. What it lost, or was made to forget, is asked of the writer; what somebody else published is passed over.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::{FutureExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::transport::{ANSWER_MAX, Heard, Question};
use crate::config::{Config, NatsAddress};
use crate::fetch::Nats;
use crate::revocation::feed::{PAGE_LINES, Page};
use crate::revocation::kill_log::Verifier;

/// How long the order that a head speaks of may take to come by itself before the stream is looked at.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// A question as it is sent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    after: u64,
    wait_ms: u64,
    nonce: Option<String>,
    replica: Option<String>,
    limit: usize,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// A page.
    Page(Page),
    /// Why there is none.
    Refused(String),
}

impl Asked {
    /// The question, if it may be asked.
    pub(super) fn question(payload: &[u8]) -> Result<Question, String> {
        let asked: Self = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let wait = Duration::from_millis(asked.wait_ms);
        let question = Question { after: asked.after, wait, nonce: asked.nonce, replica: asked.replica, limit: asked.limit };
        question.check().map_err(|(name, rule)| format!("{name}: {rule}"))?;
        Ok(question)
    }

    fn of(question: &Question) -> Self {
        let Question { after, wait, nonce, replica, limit } = question.clone();
        Self { after, wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), nonce, replica, limit }
    }
}

/// A subject that a controller publishes in.
pub(super) struct Subject {
    url: String,
    address: NatsAddress,
    token: Option<String>,
    roots: Vec<PathBuf>,
    /// Knows the writer's key, and no line: places are for the log to check.
    writer: Verifier,
    line: OnceCell<Line>,
    strange: Mutex<Option<String>>,
}

struct Line {
    nats: Nats,
    live: tokio::sync::Mutex<Subscriber>,
}

impl Subject {
    pub(super) fn new(config: &Config, token: Option<String>) -> Result<Self, String> {
        let (url, roots) = (config.revocation.feed.clone(), config.fetch.extra_roots.clone());
        let address = NatsAddress::parse(&url, &config.fetch.allow_networks)?;
        let writer = Verifier::new(config.revocation.key().ok_or("revocation.feed_key is missing")?);
        Ok(Self { url, address, token, roots, writer, line: OnceCell::new(), strange: Mutex::default() })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn strange(&self) -> Option<String> {
        self.strange.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What comes first of an answer and an order. Orders that the answer's head speaks of, and that are not here, are taken from what is
    /// published, from the stream, or from the writer, in this order.
    pub(super) async fn ask(&self, question: &Question, patience: Duration) -> Result<Heard, String> {
        let line = self.line().await?;
        let mut live = line.live.lock().await;
        let short = Question { limit: 0, ..question.clone() };
        let page = tokio::select! {
            biased;
            lines = self.next_orders(&mut live, question.after) => {
                let lines = match lines {
                    lines if lines.is_empty() => self.stored(line, question.after).await.unwrap_or_default(),
                    lines => lines,
                };
                // What is missing before it, and not in the stream either, the writer is asked for below.
                if !lines.is_empty() {
                    return Ok(Heard::Unasked(lines));
                }
                self.ask_writer(&Question { wait: Duration::ZERO, ..short }, patience).await?
            }
            page = self.ask_writer(&short, patience) => page?,
        };
        let (Some(head), Some(nonce)) = (&page.head, &question.nonce) else { return Ok(Heard::Answer(page)) };
        // Whatever is wrong with a head is for the log to say.
        let Ok(head) = self.writer.verify_head(head, nonce) else { return Ok(Heard::Answer(page)) };
        let missing = head.seq.saturating_sub(question.after);
        if missing == 0 || !page.lines.is_empty() {
            return Ok(Heard::Answer(page));
        }
        let mut lines = Vec::new();
        if missing == 1 {
            let coming = self.next_orders(&mut live, question.after);
            lines = tokio::time::timeout(ON_ITS_WAY, coming).await.unwrap_or_default();
        }
        if lines.is_empty() {
            lines = self.stored(line, question.after).await.unwrap_or_default();
        }
        if lines.is_empty() {
            tracing::warn!(feed = self.url, after = question.after, "orders are not in the NATS stream; asking their writer");
            let whole = Question { wait: Duration::ZERO, limit: PAGE_LINES, ..question.clone() };
            return self.ask_writer(&whole, patience).await.map(Heard::Answer);
        }
        // Orders after the head are the next answer's.
        lines.truncate(usize::try_from(missing).unwrap_or(usize::MAX));
        let more = u64::try_from(lines.len()).unwrap_or(u64::MAX) < missing;
        Ok(Heard::Answer(Page { head: page.head, lines, more }))
    }

    /// Asks the writer alone.
    pub(super) async fn ask_writer(&self, question: &Question, patience: Duration) -> Result<Page, String> {
        let question_json = serde_json::to_vec(&Asked::of(question)).map_err(|error| error.to_string())?;
        let within = question.wait.saturating_add(patience);
        let answer = self.line().await?.nats.ask(question_json, within).await?;
        if answer.payload.len() > ANSWER_MAX {
            return Err(format!("the answer has more than {ANSWER_MAX} bytes"));
        }
        match serde_json::from_slice(&answer.payload).map_err(|error| format!("the answer is none: {error}"))? {
            Reply::Page(page) => Ok(page),
            Reply::Refused(why) => Err(why.chars().take(300).collect()),
        }
    }

    async fn line(&self) -> Result<&Line, String> {
        let connect = async || {
            let nats = Nats::connect(&self.address, self.token.as_deref(), &self.roots).await?;
            let live = tokio::sync::Mutex::new(nats.listen().await?);
            Ok(Line { nats, live })
        };
        self.line.get_or_try_init(connect).await
    }

    /// Waits for an order after this one to be published: it and those that come with it, as far as they have no gap. None when it is not
    /// the next.
    async fn next_orders(&self, live: &mut Subscriber, after: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let mut next = after.saturating_add(1);
        loop {
            let message = match lines.is_empty() {
                true => live.next().await,
                false => live.next().now_or_never().flatten(),
            };
            let Some(message) = message else {
                // The connection is closed for good: nothing comes any more, and whoever waits for it waits for the answer.
                if lines.is_empty() {
                    std::future::pending::<()>().await;
                }
                return lines;
            };
            match self.number(&message.payload) {
                Some((number, line)) if number == next => {
                    lines.push(line);
                    next = next.saturating_add(1);
                }
                Some((number, _)) if number > next => return lines,
                Some(_) | None => {}
            }
            if lines.len() >= PAGE_LINES {
                return lines;
            }
        }
    }

    /// The next orders that the stream has. An order is never before the place of its number, because those before it were published
    /// before it; what others published, and what was published twice, only moves it on. Far on, its writer is sooner asked.
    async fn stored(&self, line: &Line, after: u64) -> Result<Vec<String>, String> {
        let mut next = after.saturating_add(1);
        let mut lines = Vec::new();
        for text in line.nats.stored_from(next, PAGE_LINES).await? {
            if let Some((_, line)) = self.number(text.as_bytes()).filter(|(number, _)| *number == next) {
                lines.push(line);
                next = next.saturating_add(1);
            }
        }
        Ok(lines)
    }

    fn number(&self, payload: &[u8]) -> Option<(u64, String)> {
        let line = std::str::from_utf8(payload).ok();
        let numbered = line.and_then(|line| Some((self.writer.number_of(line)?, line.to_owned())));
        if numbered.is_none() {
            let what = "somebody else published in the subject of the kill log, or an order was changed on its way";
            *self.strange.lock().unwrap_or_else(PoisonError::into_inner) = Some(what.to_owned());
        }
        numbered
    }
}
