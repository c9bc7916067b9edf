//! What is elsewhere: issuers' keys, and a running server.

use std::sync::Arc;

use super::Diagnosis;
use crate::cli::context::Context;
use crate::cli::remote::Remote;
use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::fetch::Fetcher;
use countersign::judge::Want;
use countersign::judge::anchors::{AnchorKind, KeySource};
use countersign::judge::dossier::{Exhibit, Locator, Outcome, Purpose};
use countersign::service::fetch_options;
use countersign::values::PublicUrl;

pub(super) async fn all(config: &Config, offline: bool, context: &Context) -> Vec<Diagnosis> {
    let mut all = Vec::new();
    if offline {
        all.push(Diagnosis::skip("keys", "not asked for (--offline)"));
    } else {
        all.extend(keys(config).await);
    }
    match Remote::of(context) {
        Ok(None) => {}
        Err(failure) => all.push(Diagnosis::bad("server", failure.to_string(), "correct --server")),
        Ok(Some(server)) => all.push(match server.send("GET", "/readyz", None).await {
            Ok(_) => Diagnosis::good("server", "ready"),
            Err(failure) => Diagnosis::bad("server", failure.to_string(), "look at its log"),
        }),
    }
    all
}

/// Each `jwks_uri`, fetched as a decision would fetch it.
async fn keys(config: &Config) -> Vec<Diagnosis> {
    // What is wrong with them has been said.
    let Ok(rules) = countersign::rules::load(config) else { return Vec::new() };
    let published = rules.anchors().iter().filter_map(|anchor| match &anchor.kind {
        AnchorKind::StatementIssuer { keys: KeySource::Published(url), .. } => Some((anchor.id.clone(), url.clone())),
        _ => None,
    });
    let published: Vec<(String, PublicUrl)> = published.collect();
    if published.is_empty() {
        return Vec::new();
    }
    let fetcher = match Fetcher::new(fetch_options(config), Arc::new(SystemClock)) {
        Ok(fetcher) => fetcher,
        Err(error) => {
            let advice = "correct `fetch.extra_roots`, or install the system's root certificates (ca-certificates)";
            return vec![Diagnosis::bad("fetch", error.to_string(), advice)];
        }
    };
    let mut all = Vec::new();
    for (id, url) in published {
        let want = Want { locator: Locator { url: url.clone(), purpose: Purpose::Jwks }, checked_after: None, signer: None };
        all.push(of_keys(&id, url.as_str(), &*fetcher.fulfil(&want).await));
    }
    all
}

fn of_keys(id: &str, url: &str, exhibit: &Exhibit) -> Diagnosis {
    let advice = "its statements are unresolved meanwhile; look at the issuer, DNS, the certificate and the firewall";
    match &exhibit.outcome {
        Outcome::Absent(_, why) => Diagnosis::bad("keys", format!("{id}: {url}: {why}"), advice),
        Outcome::Response(response) if response.status != 200 => {
            Diagnosis::bad("keys", format!("{id}: {url}: status {}", response.status), advice)
        }
        Outcome::Response(response) => match response.keys() {
            Ok(keys) => Diagnosis::good("keys", format!("{id}: {} at {url}", keys.iter().count())),
            Err(error) => Diagnosis::bad("keys", format!("{id}: {url}: {error}"), "ask the issuer to publish a sound JWK Set"),
        },
    }
}
