//! The policy stage: fresh and remembered, with few policies and with many; and what a reload costs.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use countersign::clock::SystemClock;
use countersign::config::Config;
use countersign::judge::policy::{Memo, NoMemo, PolicyFile, PolicySource, Principal, Question, Ruling, rule_once};
use countersign::judge::revocation::State;
use countersign::judge::{KillSet, Resolved, Rules, RulesSource, grant};
use countersign::service::Service;
use countersign::values::{Digest, Request, Timestamp};

use crate::process::time;

/// One shape of request, as the service remembers it.
#[derive(Default)]
pub(crate) struct One(RefCell<Option<Arc<Ruling>>>);

impl Memo for One {
    fn find(&self, answers: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        self.0.borrow().as_ref().filter(|ruling| answers(ruling)).map(Arc::clone)
    }
    fn keep(&self, ruling: &Arc<Ruling>) {
        *self.0.borrow_mut() = Some(Arc::clone(ruling));
    }
}

/// Keeps the client's entity and no ruling.
#[derive(Default)]
struct Entity(RefCell<Option<Arc<Principal>>>);

impl Memo for Entity {
    fn find(&self, _: &dyn Fn(&Ruling) -> bool) -> Option<Arc<Ruling>> {
        None
    }
    fn keep(&self, _: &Arc<Ruling>) {}
    fn principal(&self, _: &Digest, make: &dyn Fn() -> Result<Principal, String>) -> Result<Arc<Principal>, String> {
        if let Some(kept) = self.0.borrow().as_ref() {
            return Ok(Arc::clone(kept));
        }
        let made = make().map(Arc::new)?;
        *self.0.borrow_mut() = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// A rule set as a large operator writes one: twenty policies that concern everybody, the others about one class, one anchor, one client
/// or one tool each.
pub(crate) fn policies(count: usize) -> PolicySource {
    let mut text = String::new();
    for n in 0..count {
        let id = format!("@id(\"p{n}\") ");
        let _ = match n {
            0 => writeln!(
                text,
                "{id}@obligation(\"require_pkce\") permit (principal, action == Action::\"admit\", resource) when {{ principal.redirects }};"
            ),
            1 => writeln!(text, "{id}permit (principal, action in [Action::\"useScope\", Action::\"callTool\"], resource);"),
            2..8 => writeln!(
                text,
                "{id}forbid (principal, action == Action::\"admit\", resource) when {{ principal has environment && principal.environment == \"stage-{n}\" }};"
            ),
            8..14 => writeln!(
                text,
                "{id}forbid (principal, action == Action::\"callTool\", resource) when {{ resource.name like \"admin-{n}.*\" && !(context has ticket) }};"
            ),
            14..20 => writeln!(
                text,
                "{id}forbid (principal, action == Action::\"useScope\", resource) when {{ context.source has region && context.source.region == \"moon-{n}\" }};"
            ),
            _ => match n % 4 {
                0 => writeln!(
                    text,
                    "{id}forbid (principal in Class::\"class-{n}\", action, resource) when {{ principal.depth > 2 }};"
                ),
                1 => writeln!(
                    text,
                    "{id}@ttl(\"1h\") permit (principal in Anchor::\"anchor-{n}\", action == Action::\"admit\", resource);"
                ),
                2 => writeln!(text, "{id}forbid (principal == Client::\"https://c-{n}.example/\", action, resource);"),
                _ => writeln!(
                    text,
                    "{id}forbid (principal, action == Action::\"callTool\", resource == Tool::\"tool-{n}\") when {{ context.clock.hour < 6 }};"
                ),
            },
        };
    }
    PolicySource { files: vec![PolicyFile { name: "bench.cedar".into(), text }], entities: None }
}

pub(crate) fn stage(base: &RulesSource, request: &Request, resolve: impl Fn(&Rules) -> Arc<Resolved>, at: Timestamp) {
    for count in [4, 50, 1000, 10_000] {
        let source = if count == 4 { PolicySource::default() } else { policies(count) };
        let begun = Instant::now();
        let rules = Rules::parse(RulesSource { policies: source, ..base.clone() }).expect("policies");
        println!("policies: {count:>6} read, validated and sliced in {:.1} ms", begun.elapsed().as_secs_f64() * 1000.0);
        let client = resolve(&rules);
        let mut findings = Vec::new();
        let reach = grant::reach(&request.request, &client, &rules.source().knobs, &mut findings).expect("reach");
        let question = Question::new(rules.policies(), &request.request, &request.source, State::Good, 0, at);
        let kept = Entity::default();
        time(&format!("policy stage, {count} policies, fresh, entity kept"), || {
            drop(black_box(rule_once(&client, rules.policies(), &question, &reach, &kept)));
        });
        time(&format!("policy stage, {count} policies, fresh, entity made"), || {
            drop(black_box(rule_once(&client, rules.policies(), &question, &reach, &NoMemo)));
        });
        let memo = One::default();
        time(&format!("policy stage, {count} policies, remembered"), || {
            drop(black_box(rule_once(&client, rules.policies(), &question, &reach, &memo)));
        });
        let kills = KillSet::default();
        time(&format!("warm decision, {count} policies, remembered"), || {
            drop(black_box(countersign::judge::judge_with(
                request,
                &client,
                &rules,
                &kills,
                &countersign::judge::Dossier::new(),
                at,
                &memo,
            )));
        });
    }
}

/// Reloads a thousand policies while four callers ask as fast as they can. No answer may fail.
pub(crate) async fn reload(directory: &Path, mut config: Config, request: Request) {
    let policies_dir = directory.join("policies");
    std::fs::create_dir_all(&policies_dir).expect("directory");
    let write = |text: &str| std::fs::write(policies_dir.join("bench.cedar"), text).expect("policies");
    let text = policies(1000).files[0].text.clone();
    write(&text);
    config.policies = policies_dir.clone();
    let service = Service::open(&config, Arc::new(SystemClock)).await.expect("open");
    let (stop, asked, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (service, request) = (service.clone(), request.clone());
            let (stop, asked, failed) = (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&failed));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = service.decide(&request, None).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    if !answer.is_ok_and(|answer| answer.decision().word() == "allow") {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    let mut slowest = 0.0_f64;
    for round in 0..5 {
        write(&format!("{text}// round {round}\n"));
        let begun = Instant::now();
        service.reload().await.expect("evidence").expect("rules");
        slowest = slowest.max(begun.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("caller");
    }
    let (asked, failed) = (asked.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    println!("reload of 1000 policies under load: slowest of 5 {slowest:.0} ms; {asked} asked meanwhile, {failed} not allowed");
    service.close().await.expect("close");
}
