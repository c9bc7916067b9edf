//! `anchors check`: each file by itself, so that all errors are shown and not only the first; then all of them together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::{covers, delegation, json, kind, patterns, sources, standing, texts};
use crate::cli::args::spoken;
use crate::cli::context::{Context, json_text};
use crate::cli::failure::{Failure, one_line};
use crate::cli::paint::{Mark, Paint};
use crate::cli::{Outcome, exit, table};
use countersign::judge::anchors::{self, Anchor, AnchorFile};
use countersign::values::Timestamp;

/// Check each file, and say what each may vouch for and until when.
#[derive(Args)]
#[command(
    after_help = "Exit code 1 when a file breaks a rule or two share an `id`. An approval that has ended is worth a warning, and no error: the\nfile says what it should, and its clients are denied."
)]
pub(crate) struct Check {
    /// Files to check; default: all of the trust-anchor directory
    files: Vec<PathBuf>,
}

/// A file and what came of it.
struct Checked {
    file: String,
    anchor: Result<Anchor, String>,
}

impl Check {
    pub(crate) fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let config = context.config()?;
        let files = if self.files.is_empty() { in_directory(&config.trust_anchors)? } else { self.files.clone() };
        let checked: Vec<Checked> = files.iter().map(|file| check(file)).collect();
        // Rules about all files together can only be asked once each file holds.
        let sound = checked.iter().all(|one| one.anchor.is_ok());
        let together = if sound && self.files.is_empty() {
            countersign::rules::load(&config).err().map(|error| one_line(&error.to_string()))
        } else {
            None
        };
        let at = context.now();
        let exit = if sound && together.is_none() { exit::OK } else { exit::FAILURE };
        let text = if context.global.json {
            json_text(&report(&checked, together.as_deref(), at))
        } else {
            render(&checked, together.as_deref(), at, context.paint, context.global.quiet)
        };
        let mut outcome = Outcome::done(text).exit(exit);
        if files.is_empty() && !context.global.quiet {
            let place = config.trust_anchors.display();
            outcome.notes.push(format!("{place} holds no file whose name ends in .toml, so every client is denied"));
        }
        Ok(outcome)
    }
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let advice = "name the directory with --trust-anchors or `trust_anchors` in the configuration";
    let entries = std::fs::read_dir(directory).map_err(|error| Failure::new(directory.display(), error, advice))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Failure::new(directory.display(), error, advice))?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|extension| extension == "toml") && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn check(path: &Path) -> Checked {
    let anchor = || {
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
        let rule = |error: anchors::AnchorError| error.rule;
        let file = AnchorFile { name: path.display().to_string(), text: read(path)? };
        let mut files = BTreeMap::new();
        for name in anchors::referenced_files(&file).map_err(rule)? {
            let text = read(&path.with_file_name(&name))?;
            files.insert(name, text);
        }
        anchors::parse(&file, &files).map_err(rule)
    };
    Checked { file: path.display().to_string(), anchor: anchor().map_err(|rule| one_line(&rule)) }
}

fn render(checked: &[Checked], together: Option<&str>, at: Timestamp, paint: Paint, quiet: bool) -> String {
    let mut text = String::new();
    let mut counts = (0_usize, 0_usize);
    for Checked { file, anchor } in checked {
        match anchor {
            Err(rule) => {
                counts.0 += 1;
                text.push_str(&format!("{} {file}\n    {}\n", paint.mark(Mark::Bad), paint.bad(rule)));
            }
            Ok(anchor) => {
                let (mark, approved) = standing(anchor, at);
                counts.1 += usize::from(mark != Mark::Good);
                if mark != Mark::Good || !quiet {
                    text.push_str(&format!(
                        "{} {file}\n{}",
                        paint.mark(mark_of(mark)),
                        one(anchor, &approved, (mark, at), paint)
                    ));
                }
            }
        }
    }
    if let Some(rule) = together {
        counts.0 += 1;
        text.push_str(&format!("{} together: {}\n", paint.mark(Mark::Bad), paint.bad(rule)));
    }
    let (files, (errors, warnings)) = (checked.len(), counts);
    let plural = if files == 1 { "" } else { "s" };
    text.push_str(&format!("{files} file{plural}: {errors} in error, {warnings} to look at\n"));
    text
}

/// A file whose approval has ended is not in error: it says what it should, and denies.
fn mark_of(standing: Mark) -> Mark {
    if standing == Mark::Bad { Mark::Warn } else { standing }
}

/// What one anchor means, in full.
fn one(anchor: &Anchor, approved: &str, (mark, at): (Mark, Timestamp), paint: Paint) -> String {
    let approval = &anchor.approval;
    let approved = match mark {
        Mark::Good | Mark::Skip => approved.to_owned(),
        Mark::Warn if at < approval.on => paint.warn(&format!("{approved}: its clients are denied until then")),
        Mark::Warn => paint.warn(&format!("{approved}: renew it, or its clients are denied")),
        Mark::Bad => paint.bad(&format!("{approved}: its clients are denied")),
    };
    let vouches = &anchor.vouches;
    let mut rows = vec![("anchor", format!("{} ({})", paint.bold(&anchor.id), kind(anchor)))];
    rows.extend(covers(anchor));
    rows.extend([
        ("classes", texts(&vouches.classes)),
        ("scopes", texts(&patterns(&vouches.scopes))),
        ("tools", texts(&patterns(&vouches.tools))),
        ("at most", spoken(vouches.max_lifetime)),
    ]);
    rows.extend(delegation(anchor).map(|levels| ("delegation", levels)));
    rows.extend(sources(anchor).into_iter().map(|(name, values)| (name, values.join(", "))));
    rows.push(("approved by", format!("{} ({}), from {}", approval.by, approval.ticket, super::date(approval.on))));
    rows.push(("approved", approved));
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![paint.dim(name), value]).collect();
    table::columns(&rows, "    ")
}

fn report(checked: &[Checked], together: Option<&str>, at: Timestamp) -> serde_json::Value {
    let files: Vec<_> = checked
        .iter()
        .map(|Checked { file, anchor }| match anchor {
            Ok(anchor) => serde_json::json!({ "file": file, "ok": true, "anchor": json(anchor, at) }),
            Err(rule) => serde_json::json!({ "file": file, "ok": false, "error": rule }),
        })
        .collect();
    let ok = together.is_none() && checked.iter().all(|one| one.anchor.is_ok());
    serde_json::json!({ "ok": ok, "files": files, "together": together })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use countersign::config::Config;

    const ANCHOR: &str = r#"
id = "ID"
kind = "web"
[approval]
by = "platform-security@acme.example"
ticket = "SEC-1234"
on = 2026-11-01
until = 2027-05-01
[vouches]
classes = ["public", "agent"]
scopes = ["files.*", "search"]
[web]
client_ids = ["https://client.example/oauth/metadata.json"]
origins = ["https://*.acme.example"]
"#;
    const ISSUER: &str = r#"
id = "ID"
kind = "statement-issuer"
[approval]
by = "platform-security@acme.example"
ticket = "SEC-99"
on = 2026-01-01
until = 2026-06-01
[vouches]
classes = ["partner"]
tools = ["*"]
max_lifetime = "90m"
[statement]
issuer = "https://registry.acme.example"
jwks_uri = "https://registry.acme.example/jwks.json"
[source]
regions = ["eu-*"]
networks = ["10.0.0.0/8"]
"#;

    /// A directory of anchors: file names and what is special about each.
    pub(in super::super) fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, Config) {
        let directory = tempfile::tempdir().unwrap();
        for (name, special) in files {
            let id = name.trim_end_matches(".toml");
            let text = match *special {
                "soon" => ANCHOR.replace("until = 2027-05-01", "until = 2026-12-10"),
                "issuer" => ISSUER.to_owned(),
                "broken" => ANCHOR.replace("scopes =", "scope ="),
                "wide" => ANCHOR.replace("https://*.acme.example", "https://*.com"),
                "same" => ANCHOR.replace("ID", "a"),
                _ => ANCHOR.to_owned(),
            };
            std::fs::write(directory.path().join(name), text.replace("ID", id)).unwrap();
        }
        let config = Config { trust_anchors: directory.path().into(), policies: "none".into(), ..Config::default() };
        (directory, config)
    }

    fn run(files: &[(&str, &str)]) -> String {
        let (keep, config) = directory(files);
        let mut checked: Vec<Checked> = in_directory(&config.trust_anchors).unwrap().iter().map(|file| check(file)).collect();
        for one in &mut checked {
            one.file = one.file.replace(keep.path().to_str().unwrap(), "trust-anchors");
        }
        let at = Timestamp::parse("2026-11-22T12:00:00Z").unwrap();
        let together = countersign::rules::load(&config).err().map(|error| one_line(&error.to_string()));
        let together = together.filter(|_| checked.iter().all(|one| one.anchor.is_ok()));
        render(&checked, together.as_deref(), at, Paint::plain(), false)
    }

    #[test]
    fn what_each_may_vouch_for() {
        insta::assert_snapshot!(run(&[("a.toml", ""), ("b.toml", "soon"), ("c.toml", "issuer")]));
    }

    #[test]
    fn every_error_is_shown() {
        insta::assert_snapshot!(run(&[("a.toml", ""), ("b.toml", "broken"), ("c.toml", "wide")]));
    }

    #[test]
    fn two_files_of_one_id() {
        assert!(run(&[("a.toml", ""), ("b.toml", "same")]).contains("b.toml: `id` \"a\" is used by another file too"));
    }
}
