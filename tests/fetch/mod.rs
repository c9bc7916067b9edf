//! The fetcher against a real HTTPS origin that misbehaves on purpose.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod addresses;
mod flights;
mod responses;
mod throttling;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign::clock::ManualClock;
use countersign::fetch::guard::{Resolver, Resolving};
use countersign::fetch::{FetchOptions, Fetcher};
use countersign::judge::dossier::{Absence, Exhibit, Locator, Outcome, Purpose, Want};
use countersign::values::{PublicUrl, Timestamp};

use crate::support::origin::Origin;

fn start_of_time() -> Timestamp {
    Timestamp::parse("2026-11-22T01:00:00Z").unwrap()
}

/// `client.example` and a few others are the origin, loopback may be dialled, and nothing else resolves.
fn options(origin: &Origin) -> FetchOptions {
    let names = ["client.example", "other.example", "wrong.example"];
    FetchOptions {
        extra_roots: vec![origin.roots()],
        resolve: names.map(|name| (name.to_owned(), vec![origin.address()])).into(),
        allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
        timeout: Duration::from_secs(5),
        ..FetchOptions::default()
    }
}

fn fetcher(options: FetchOptions) -> (Fetcher, ManualClock) {
    let clock = ManualClock::at(start_of_time());
    let fetcher = Fetcher::with_resolver(options, Arc::new(clock.clone()), Script::new([])).unwrap();
    (fetcher, clock)
}

fn want(url: &str) -> Want {
    let locator = Locator { url: PublicUrl::parse(url).unwrap(), purpose: Purpose::MetadataDocument };
    Want { locator, checked_after: None, signer: None }
}

fn again(url: &str, after: Timestamp) -> Want {
    Want { checked_after: Some(after), ..want(url) }
}

/// Status and body, or the absence.
fn gist(exhibit: &Arc<Exhibit>) -> Result<(u16, String), Absence> {
    match &exhibit.outcome {
        Outcome::Response(response) => Ok((response.status, String::from_utf8_lossy(&response.body).into_owned())),
        Outcome::Absent(absence, _) => Err(*absence),
    }
}

fn why(exhibit: &Exhibit) -> &str {
    match &exhibit.outcome {
        Outcome::Response(_) => panic!("a response: {:?}", exhibit.outcome),
        Outcome::Absent(_, why) => why,
    }
}

/// A resolver that gives one list of addresses after the other, and nothing when it has no more.
struct Script {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn new<const N: usize>(answers: [&[&str]; N]) -> Arc<Self> {
        let parse = |ips: &&[&str]| ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut answers: Vec<Vec<IpAddr>> = answers.iter().map(parse).collect();
        answers.reverse();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Resolver for Script {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        self.asked.lock().unwrap().push(name.to_owned());
        let answer = self.answers.lock().unwrap().pop();
        Box::pin(async move { answer.ok_or_else(|| "the script has no more answers".to_owned()) })
    }
}

/// Waits until something that happens in the background has happened.
async fn until(what: &str, done: impl Fn() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}

/// A port of this machine on which nothing listens.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
