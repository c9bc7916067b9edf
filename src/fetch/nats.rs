//! A NATS server that the operator named: texts under one subject that a JetStream stream keeps, and questions beside it.
//!
//! Nothing here knows what a text means or believes it. A plain stream is read from an explicit place by a consumer that keeps no state,
//! so that nothing on the server has to survive for a reader to go on.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, ConnectOptions, Message, Request, Subscriber};
use futures_util::StreamExt as _;

use super::{FetcherError, tls};
use crate::config::NatsAddress;

/// Texts that wait to be read of each subscription. What is beyond is dropped, and is found again in the stream.
const WAITING_MAX: usize = 256;
/// For one exchange with the server about its stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest pause between attempts to connect: as long as a short lease may wait for a server that is back.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A connection, made again when it breaks.
#[derive(Clone)]
pub(crate) struct Nats {
    client: Client,
    streams: jetstream::Context,
    subject: String,
}

impl Nats {
    /// Begins to connect, and goes on with that for as long as it takes.
    ///
    /// # Errors
    /// One sentence, when the roots or the address cannot be used.
    pub(crate) async fn connect(address: &NatsAddress, token: Option<&str>, roots: &[PathBuf]) -> Result<Self, String> {
        let mut config = tls::config(roots).map_err(|error: FetcherError| error.to_string())?;
        config.alpn_protocols = Vec::new();
        let pause =
            |attempt: usize| PAUSE_MAX.min(Duration::from_millis(20).saturating_mul(u32::try_from(attempt).unwrap_or(100)));
        let mut options = ConnectOptions::new()
            .name("countersign")
            .tls_client_config(config)
            .require_tls(address.tls)
            .ignore_discovered_servers()
            .retry_on_initial_connect()
            .reconnect_delay_callback(pause)
            .connection_timeout(PATIENCE)
            .ping_interval(PATIENCE)
            .subscription_capacity(WAITING_MAX);
        if let Some(token) = token {
            options = options.token(token.to_owned());
        }
        let client = options.connect(&address.server).await.map_err(|error| error.to_string())?;
        let streams = jetstream::context::ContextBuilder::new().timeout(PATIENCE).ack_timeout(PATIENCE).build(client.clone());
        Ok(Self { client, streams, subject: address.subject.clone() })
    }

    fn questions(&self) -> String {
        format!("{}.ask", self.subject)
    }

    /// What is published from now on, as it comes.
    pub(crate) async fn listen(&self) -> Result<Subscriber, String> {
        self.client.subscribe(self.subject.clone()).await.map_err(|error| error.to_string())
    }

    /// Questions from now on.
    pub(crate) async fn asked(&self) -> Result<Subscriber, String> {
        self.client.subscribe(self.questions()).await.map_err(|error| error.to_string())
    }

    /// Asks whoever answers questions, within a time.
    pub(crate) async fn ask(&self, question: Vec<u8>, within: Duration) -> Result<Message, String> {
        let request = Request::new().payload(question.into()).timeout(Some(within));
        self.client.send_request(self.questions(), request).await.map_err(|error| error.to_string())
    }

    /// Answers a question.
    pub(crate) async fn answer(&self, question: &Message, answer: Vec<u8>) -> Result<(), String> {
        let Some(to) = question.reply.clone() else { return Ok(()) };
        self.client.publish(to, answer.into()).await.map_err(|error| error.to_string())
    }

    /// The most bytes of a text that the server takes.
    pub(crate) fn longest(&self) -> usize {
        self.client.server_info().max_payload
    }

    async fn stream(&self) -> Result<Option<stream::Stream<()>>, String> {
        match self.streams.stream_by_subject(self.subject.clone()).await {
            Ok(name) => self.streams.get_stream_no_info(name).await.map(Some).map_err(|error| error.to_string()),
            Err(error) if error.kind() == jetstream::context::GetStreamByNameErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes the stream if the server has none for the subject. One with copies on several servers is the operator's to make before.
    pub(crate) async fn make_stream(&self) -> Result<(), String> {
        if self.stream().await?.is_some() {
            return Ok(());
        }
        let (name, subjects) = (self.subject.replace('.', "_"), vec![self.subject.clone()]);
        let config = stream::Config { name, subjects, storage: stream::StorageType::File, ..stream::Config::default() };
        self.streams.create_stream(config).await.map(drop).map_err(|error| error.to_string())
    }

    /// The number that the stream gave its last text; 0 when it has none.
    pub(crate) async fn last(&self) -> Result<u64, String> {
        let Some(stream) = self.stream().await? else { return Ok(0) };
        Ok(stream.get_info().await.map_err(|error| error.to_string())?.state.last_sequence)
    }

    /// The text that the stream has at a place; `None` if there is none.
    pub(crate) async fn stored(&self, place: u64) -> Result<Option<String>, String> {
        let Some(stream) = self.stream().await? else { return Ok(None) };
        match stream.get_raw_message(place).await {
            Ok(message) => Ok(text_of(&message.payload)),
            Err(error) if error.kind() == stream::RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    /// What the stream has from a place on, at most so many texts. Empty when there is no stream.
    pub(crate) async fn stored_from(&self, place: u64, most: usize) -> Result<Vec<String>, String> {
        let Some(stream) = self.stream().await? else { return Ok(Vec::new()) };
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: place.max(1) },
            ack_policy: AckPolicy::None,
            filter_subject: self.subject.clone(),
            inactive_threshold: PATIENCE,
            memory_storage: true,
            ..pull::Config::default()
        };
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let consumer = stream.create_consumer(config).await.map_err(|error| say(&error))?;
        let mut batch = consumer.fetch().max_messages(most).messages().await.map_err(|error| say(&error))?;
        let mut texts = Vec::new();
        while let Ok(Some(message)) = tokio::time::timeout(PATIENCE, batch.next()).await {
            texts.extend(text_of(&message.map_err(|error| say(&error))?.payload));
        }
        // The server forgets it by itself when nobody asks for more.
        let _ = stream.delete_consumer(&consumer.cached_info().name).await;
        Ok(texts)
    }

    /// Publishes texts in their order; the places of those that the stream says are kept, up to the first that is not.
    pub(crate) async fn publish(&self, texts: &[String]) -> (Vec<u64>, Result<(), String>) {
        let mut waiting = Vec::new();
        for text in texts {
            match self.streams.publish(self.subject.clone(), text.clone().into()).await {
                Ok(acknowledged) => waiting.push(acknowledged),
                Err(error) => return (places(waiting).await.0, Err(error.to_string())),
            }
        }
        places(waiting).await
    }
}

async fn places(waiting: Vec<jetstream::context::PublishAckFuture>) -> (Vec<u64>, Result<(), String>) {
    let mut places = Vec::new();
    for acknowledged in waiting {
        match acknowledged.await {
            Ok(kept) => places.push(kept.sequence),
            Err(error) => return (places, Err(error.to_string())),
        }
    }
    (places, Ok(()))
}

fn text_of(payload: &[u8]) -> Option<String> {
    std::str::from_utf8(payload).ok().map(str::to_owned)
}
