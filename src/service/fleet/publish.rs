//! The controller's side of NATS: what is in the log is published after that, again when the stream forgot it; and questions are answered.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::{Mutex, Semaphore};

use super::subject::{Asked, Reply};
use super::transport::{Question, token_of};
use super::{Inner, Service, WAITERS_MAX};
use crate::config::{Config, NatsAddress};
use crate::fetch::Nats;
use crate::revocation::feed::{Alarm, PAGE_LINES, Page};
use crate::revocation::kill_log::Verifier;

/// How often the stream is looked at when nothing happens: for how long one that was deleted or rolled back lacks what it had.
const LOOK: Duration = Duration::from_secs(1);
/// How many texts at the end of the stream are looked at for an order of ours. Behind more than that, all orders are published again: they
/// do no harm twice.
const LOOK_BACK: u64 = 64;
/// Orders that are sent before the stream has said that it keeps the first of them.
const AT_ONCE: usize = 64;
/// What an answer has besides its lines, and what the texts of lines need more as JSON: none of their characters is escaped.
const AROUND: usize = 4096;

/// A place to publish in.
pub(super) struct Publisher {
    url: String,
    address: NatsAddress,
    token: Option<String>,
    roots: Vec<PathBuf>,
    /// The last order that the stream was seen to have, and its place there.
    kept: Mutex<Option<(u64, u64)>>,
}

impl Publisher {
    /// `None` when the configuration names no place.
    pub(super) fn of(config: &Config) -> Result<Option<Arc<Self>>, String> {
        let url = config.revocation.publish.clone();
        if url.is_empty() {
            return Ok(None);
        }
        let address = NatsAddress::parse(&url, &config.fetch.allow_networks)?;
        let token = token_of("publish_token_file", &config.revocation.publish_token_file)?;
        let (roots, kept) = (config.fetch.extra_roots.clone(), Mutex::default());
        Ok(Some(Arc::new(Self { url, address, token, roots, kept })))
    }

    /// Publishes and answers until the service is gone.
    pub(super) async fn run(self: Arc<Self>, service: Weak<Inner>) {
        let nats = match Nats::connect(&self.address, self.token.as_deref(), &self.roots).await {
            Ok(nats) => nats,
            Err(error) => {
                tracing::error!(publish = self.url, error, "orders are not published");
                return;
            }
        };
        tokio::spawn(answer_all(nats.clone(), service.clone()));
        let Some(mut news) = service.upgrade().map(|inner| inner.kills.news()) else { return };
        let mut well = true;
        loop {
            let Some(inner) = service.upgrade() else { return };
            news.borrow_and_update();
            match self.catch_up(&nats, &inner).await {
                Ok(()) if !std::mem::replace(&mut well, true) => {
                    tracing::info!(publish = self.url, "orders are published again");
                }
                Ok(()) => {}
                Err(error) => {
                    // Once: a server that is down says the same at each look.
                    if std::mem::replace(&mut well, false) {
                        tracing::warn!(publish = self.url, error, "orders are in force, and are not published yet");
                    }
                }
            }
            drop(inner);
            let _ = tokio::time::timeout(LOOK, news.changed()).await;
        }
    }

    /// Publishes what the stream lacks of the log.
    async fn catch_up(&self, nats: &Nats, inner: &Inner) -> Result<(), String> {
        let mut kept = self.kept.lock().await;
        if !self.is_kept(nats, inner, *kept).await? {
            nats.make_stream().await?;
            *kept = self.find_kept(nats, inner).await?;
        }
        loop {
            let after = kept.map_or(0, |(number, _)| number);
            let lines = page(inner, after, AT_ONCE).await?.lines;
            if lines.is_empty() {
                return Ok(());
            }
            let (places, published) = nats.publish(&lines).await;
            for place in places {
                *kept = Some((kept.map_or(0, |(number, _)| number).saturating_add(1), place));
            }
            published?;
        }
    }

    /// Whether the stream has what it was seen to have.
    async fn is_kept(&self, nats: &Nats, inner: &Inner, kept: Option<(u64, u64)>) -> Result<bool, String> {
        let Some((number, place)) = kept else { return Ok(false) };
        let stored = nats.stored(place).await?;
        let is_kept = stored.is_some() && stored == line(inner, number).await?;
        if !is_kept {
            tracing::warn!(publish = self.url, number, "the NATS stream lost orders; they are published again");
        }
        Ok(is_kept)
    }

    /// The last order that the stream has, as far as its end tells.
    async fn find_kept(&self, nats: &Nats, inner: &Inner) -> Result<Option<(u64, u64)>, String> {
        let (last, ours) = (nats.last().await?, inner.kills.sequence());
        let writer = Verifier::new(inner.kills.key());
        for place in (last.saturating_sub(LOOK_BACK).saturating_add(1)..=last).rev() {
            let Some(stored) = nats.stored(place).await? else { continue };
            let Some(number) = writer.number_of(&stored) else { continue };
            if number <= ours && line(inner, number).await?.as_ref() == Some(&stored) {
                return Ok(Some((number, place)));
            }
            let alarm = if number > ours { Alarm::Ahead } else { Alarm::Forked };
            let detail = format!("the NATS stream has an order {number} that is not of this log, which ends at {ours}");
            inner.alarm(alarm, &self.url, detail).await;
        }
        Ok(None)
    }
}

async fn page(inner: &Inner, after: u64, limit: usize) -> Result<Page, String> {
    inner.kills.page(after, None, limit, None, inner.clock.now()).await.map_err(|error| error.to_string())
}

async fn line(inner: &Inner, number: u64) -> Result<Option<String>, String> {
    Ok(page(inner, number.saturating_sub(1), 1).await?.lines.pop())
}

/// Answers questions until the service is gone.
async fn answer_all(nats: Nats, service: Weak<Inner>) {
    let asked = match nats.asked().await {
        Ok(asked) => asked,
        Err(error) => {
            tracing::error!(error, "questions over NATS are not answered");
            return;
        }
    };
    let (mut asked, places) = (asked, Arc::new(Semaphore::new(WAITERS_MAX)));
    while let Some(question) = asked.next().await {
        let Some(inner) = service.upgrade() else { return };
        // Whoever gets no answer asks again.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let nats = nats.clone();
        tokio::spawn(async move {
            let _place = place;
            let most = nats.longest().saturating_sub(AROUND);
            let reply = match Asked::question(&question.payload) {
                Ok(asked) => answer(Service(inner), &asked, most).await,
                Err(why) => Reply::Refused(why),
            };
            let sent = match serde_json::to_vec(&reply) {
                Ok(reply) => nats.answer(&question, reply).await,
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = sent {
                tracing::warn!(error, "an answer over NATS was not sent");
            }
        });
    }
}

async fn answer(service: Service, question: &Question, most: usize) -> Reply {
    let question = Question { limit: question.limit.min(PAGE_LINES), ..question.clone() };
    // The name of whoever asks is what it says: the server knows its users, and does not tell.
    match service.kill_page(&question, "nats", || false).await {
        Ok(page) => Reply::Page(within(page, most)),
        Err(error) => Reply::Refused(error.to_string()),
    }
}

/// As many lines as a message has room for.
fn within(mut page: Page, most: usize) -> Page {
    let mut bytes = 0_usize;
    let fit = page.lines.iter().take_while(|line| {
        bytes = bytes.saturating_add(line.len()).saturating_add(3);
        bytes <= most
    });
    let fit = fit.count();
    page.more |= fit < page.lines.len();
    page.lines.truncate(fit);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], most: usize, expect: usize, more: bool) {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let page = within(Page { head: None, lines, more: false }, most);
        assert_eq!((page.lines.len(), page.more), (expect, more));
    }

    #[test]
    fn an_answer_fits_into_a_message() {
        check(&["aaaa", "bbbb"], 14, 2, false);
        check(&["aaaa", "bbbb"], 13, 1, true);
        check(&["aaaa"], 6, 0, true);
        check(&[], 0, 0, false);
    }
}
