//! Polling a transmitter (RFC 8936): ask, act, and acknowledge with the next question what is durable by then.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::Inner;
use super::{SignalError, Station};
use crate::clock::stopwatch;
use crate::config::SignalSource;
use crate::fetch::Poster;
use crate::judge::signals::SET_MAX_BYTES;
use crate::service::fleet::read_token;
use crate::values::json::Json;

/// Most tokens of one answer. What is more comes with the next.
const EVENTS_MAX: usize = 16;
/// Most bytes of an answer: that many tokens with their names, and what JSON puts around them.
const ANSWER_MAX: usize = EVENTS_MAX * (SET_MAX_BYTES + 512) + (64 << 10);
/// How long a question may wait for an event. A transmitter that has none answers earlier, as it likes.
const PATIENCE: Duration = Duration::from_secs(90);
/// The shortest time from one question to the next: after tokens, and when there are none. Who keeps a question waiting for events is asked
/// again at once; who answers at once, again and again, is not asked in a circle.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(1);
/// The first pause after a failure; each next one is twice as long, up to a minute.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Where and as whom to ask.
pub(super) struct Polling {
    url: String,
    token: Option<String>,
    poster: Poster,
}

impl Polling {
    /// `None` for a transmitter that pushes. Reads the token.
    pub(super) fn of(source: &SignalSource, poster: &Poster) -> Result<Option<Self>, String> {
        if source.poll.is_empty() {
            return Ok(None);
        }
        let file = &source.poll_token_file;
        let token = match file.as_os_str().is_empty() {
            true => None,
            false => Some(read_token(file).map_err(|why| format!("poll_token_file: {}: {why}", file.display()))?),
        };
        Ok(Some(Self { url: source.poll.clone(), token, poster: poster.clone() }))
    }

    async fn ask(&self, told: &Told) -> Result<Answer, String> {
        let (token, body) = (self.token.as_deref(), told.question().to_string());
        match self.poster.post_json_as(&self.url, token, body, ANSWER_MAX, PATIENCE).await? {
            (200, body) => Answer::read(&body),
            (status, _) => Err(format!("it answered {status}")),
        }
    }
}

/// What the transmitter is told with the next question.
#[derive(Default, Debug)]
struct Told {
    acknowledged: Vec<String>,
    refused: BTreeMap<String, Value>,
}

impl Told {
    fn question(&self) -> Value {
        let mut question = json!({ "maxEvents": EVENTS_MAX, "returnImmediately": false });
        if let Some(question) = question.as_object_mut() {
            // Section 2.4: members that say nothing are left out.
            if !self.acknowledged.is_empty() {
                question.insert("ack".into(), self.acknowledged.clone().into());
            }
            if !self.refused.is_empty() {
                question.insert("setErrs".into(), json!(self.refused));
            }
        }
        question
    }
}

/// An answer: tokens by their `jti`.
#[derive(PartialEq, Eq, Debug)]
struct Answer {
    sets: Vec<(String, String)>,
}

impl Answer {
    /// `moreAvailable` changes nothing: the next question follows soon.
    fn read(body: &str) -> Result<Self, String> {
        let answer = Json::parse_object(body.as_bytes()).map_err(|error| format!("the answer is not JSON: {error}"))?;
        let sets = match answer.get("sets") {
            None => return Ok(Self { sets: Vec::new() }),
            Some(Json::Object(sets)) => sets,
            Some(other) => return Err(format!("`sets` is {}, not an object", other.kind())),
        };
        let text = |(jti, set): (&str, &Json)| Some((jti.to_owned(), set.as_str()?.to_owned()));
        let sets: Option<Vec<_>> = sets.iter().take(EVENTS_MAX).map(text).collect();
        sets.map(|sets| Self { sets }).ok_or_else(|| "a member of `sets` is not a string".to_owned())
    }
}

/// Polls until the service is gone.
pub(super) async fn run(station: Arc<Station>, service: Weak<Inner>) {
    let Some(polling) = &station.polling else { return };
    let (mut told, mut pause, mut reachable) = (Told::default(), PAUSE, true);
    while service.strong_count() > 0 {
        let asked = stopwatch();
        match polling.ask(&told).await {
            Err(error) => {
                // Once: an outage lasts, and each question of it would say the same.
                if std::mem::replace(&mut reachable, false) {
                    tracing::warn!(transmitter = station.name, error, "a transmitter cannot be polled");
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
            }
            Ok(answer) => {
                (reachable, pause) = (true, PAUSE);
                let Some(inner) = service.upgrade() else { return };
                // What was told has arrived.
                told = Told::default();
                let failed = act(&inner, &station, &answer, &mut told).await;
                drop(inner);
                let apart = if failed || answer.sets.is_empty() { LATER } else { SOON };
                tokio::time::sleep(apart.saturating_sub(stopwatch().saturating_duration_since(asked))).await;
            }
        }
    }
}

/// Acts upon each token. What could not be made durable is neither acknowledged nor refused, so that it comes again.
async fn act(inner: &Arc<Inner>, station: &Arc<Station>, answer: &Answer, told: &mut Told) -> bool {
    let mut failed = false;
    for (jti, set) in &answer.sets {
        let (task, of, set, under) = (Arc::clone(inner), Arc::clone(station), set.clone(), jti.clone());
        let received = tokio::spawn(async move { task.receive(&of, &set, Some(&under)).await }).await;
        match received.unwrap_or(Err(SignalError::Task)) {
            Ok(()) => told.acknowledged.push(jti.clone()),
            Err(SignalError::Refused(refusal)) => {
                let error = json!({ "err": refusal.error.name(), "description": refusal.description });
                told.refused.insert(jti.clone(), error);
            }
            Err(_) => failed = true,
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, expect: Result<&[(&str, &str)], &str>) {
        match (Answer::read(body), expect) {
            (Ok(answer), Ok(expect)) => {
                let sets: Vec<_> = answer.sets.iter().map(|(jti, set)| (jti.as_str(), set.as_str())).collect();
                assert_eq!(sets, expect);
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, expect) => panic!("{body}: {got:?}, not {expect:?}"),
        }
    }

    #[test]
    fn answers() {
        check("{}", Ok(&[]));
        check(r#"{"sets":{}}"#, Ok(&[]));
        check(r#"{"sets":{"a":"x.y.z","b":"u.v.w"},"moreAvailable":true}"#, Ok(&[("a", "x.y.z"), ("b", "u.v.w")]));
        check(r#"{"sets":{"a":"x","a":"y"}}"#, Err("not JSON"));
        check(r#"{"sets":{"a":7}}"#, Err("not a string"));
        check(r#"{"sets":["a"]}"#, Err("not an object"));
        check("[]", Err("not JSON"));
        let many: Vec<String> = (0..EVENTS_MAX + 4).map(|n| format!("\"{n}\":\"s\"")).collect();
        let answer = Answer::read(&format!("{{\"sets\":{{{}}}}}", many.join(","))).unwrap();
        assert_eq!(answer.sets.len(), EVENTS_MAX);
    }

    #[test]
    fn questions() {
        let mut told = Told::default();
        assert_eq!(told.question(), json!({ "maxEvents": 16, "returnImmediately": false }));
        told.acknowledged.push("a".into());
        told.refused.insert("b".into(), json!({ "err": "invalid_issuer", "description": "no" }));
        let refused = json!({ "b": { "err": "invalid_issuer", "description": "no" } });
        let expect = json!({ "maxEvents": 16, "returnImmediately": false, "ack": ["a"], "setErrs": refused });
        assert_eq!(told.question(), expect);
    }
}
