//! The configuration, the trust anchors and the policies.

use std::path::Path;

use super::Diagnosis;
use crate::cli::anchors::standing;
use crate::cli::failure::one_line;
use crate::cli::paint::Mark;
use countersign::config::Config;
use countersign::judge::RulesError;
use countersign::values::Timestamp;

pub(super) fn configuration(named: Option<&Path>, config: &Config) -> Vec<Diagnosis> {
    let default = Path::new("countersign.toml");
    let file = named.or_else(|| default.exists().then_some(default));
    let file = file.map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
    let mut all = vec![Diagnosis::good("config", file)];
    if config.issuer.ends_with(".invalid") {
        let advice = "set `issuer` to this verifier's own URL: statements name it in `aud`, evidence in the log's name";
        all.push(Diagnosis::warn("issuer", format!("{} is the placeholder", config.issuer), advice));
    }
    all.push(listening(config));
    if !config.fetch.allow_networks.is_empty() {
        let networks: Vec<String> = config.fetch.allow_networks.iter().map(ToString::to_string).collect();
        let advice = "empty `fetch.allow_networks` in production: whoever names a client can make us talk to these networks";
        all.push(Diagnosis::warn("networks", format!("{} may be dialled", networks.join(", ")), advice));
    }
    all
}

fn listening(config: &Config) -> Diagnosis {
    let listen = &config.listen;
    if listen.starts_with("unix:") {
        return Diagnosis::good("callers", format!("{listen}: whoever may open the socket"));
    }
    let tokens = config.http.tokens.len();
    let address: Result<std::net::SocketAddr, _> = listen.parse();
    match address {
        _ if tokens > 0 => Diagnosis::good("callers", format!("{listen}: {tokens} tokens")),
        Ok(address) if address.ip().is_loopback() => Diagnosis::good("callers", format!("{listen}: this machine only")),
        _ => {
            let advice = "set `[http] tokens`, or listen on 127.0.0.1 or a unix: socket";
            Diagnosis::warn("callers", format!("{listen} without tokens: callers from elsewhere are all refused"), advice)
        }
    }
}

/// Anchors and policies are loaded together, as `serve` does.
pub(super) fn anchors(config: &Config, at: Timestamp) -> Vec<Diagnosis> {
    let rules = match countersign::rules::load(config) {
        Ok(rules) => rules,
        Err(error @ RulesError::Policies(_)) => {
            let advice = "correct the policy; `countersign policy check` shows all that is wrong";
            return vec![Diagnosis::bad("policies", one_line(&error.to_string()), advice)];
        }
        Err(error) => {
            let advice = "correct the file; `countersign anchors check` shows all that is wrong";
            return vec![Diagnosis::bad("anchors", one_line(&error.to_string()), advice)];
        }
    };
    let from = if config.policies.exists() { config.policies.display().to_string() } else { "the program".to_owned() };
    let policies = Diagnosis::good("policies", format!("{} in {from}", rules.policies().rules().len()));
    let place = config.trust_anchors.display();
    if rules.anchors().is_empty() {
        let advice = "write one; trust-anchors/README.md tells how. Until then every client is denied";
        return vec![policies, Diagnosis::warn("anchors", format!("{place} holds none"), advice)];
    }
    let mut all = vec![policies, Diagnosis::good("anchors", format!("{} in {place}", rules.anchors().len()))];
    for anchor in rules.anchors() {
        let (mark, text) = standing(anchor, at);
        let advice = match mark {
            Mark::Good | Mark::Skip => continue,
            _ if at < anchor.approval.on => "nothing, if that is meant; its clients are denied until then",
            Mark::Warn => "renew it: a new `until`, ticket and approver",
            Mark::Bad => "renew it, or remove the file: its clients are denied",
        };
        all.push(Diagnosis::warn("approval", format!("{} {text}", anchor.id), advice));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(listen: &str, tokens: &str, expect: Mark) {
        let text = format!("listen = {listen:?}\n[http.tokens]\n{tokens}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("c.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(Some(&file), []).unwrap();
        assert_eq!(listening(&config).mark, expect, "{listen}");
    }

    #[test]
    fn a_verifier_that_serves_nobody_is_said_to_be_one() {
        let token = format!("gw = {{ sha256 = \"{}\", roles = [\"verify\"] }}", "0".repeat(64));
        check("127.0.0.1:8650", "", Mark::Good);
        check("unix:/run/countersign.sock", "", Mark::Good);
        check("0.0.0.0:8650", "", Mark::Warn);
        check("0.0.0.0:8650", &token, Mark::Good);
    }
}
