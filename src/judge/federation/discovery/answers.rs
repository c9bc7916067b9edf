//! What came back from a URL.

use crate::values::{Code, PublicUrl};

use super::super::super::finding::{Check, Refusal};
use super::super::leniency::{Departure, Leniency};
use super::super::statement::UnverifiedStatement;

/// Section 8.1.2 and section 9.
const CONTENT_TYPE: &str = "application/entity-statement+jwt";

/// Where answers are looked up.
pub trait Answers {
    /// What came back from a URL.
    fn answer(&self, url: &PublicUrl) -> Answer<'_>;
}

/// What came back from one URL.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// It was not asked for yet.
    Pending,
    /// Nothing came: the host is not there, is blocked, was too slow, sent too much.
    Unreachable(&'a str),
    /// Another status than 200. Redirects are not followed.
    Status(u16),
    /// Status 200.
    Body {
        /// The body.
        bytes: &'a [u8],
        /// The content type, with parameters.
        content_type: Option<&'a str>,
    },
}

/// Whose answer it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A configuration was asked for.
    Configuration,
    /// A statement about a subordinate was asked for.
    Subordinate,
}

/// Reads an answer as a statement. `None` while it is pending.
pub(super) fn read<'a>(
    answer: Answer<'a>,
    url: &PublicUrl,
    asked: Asked,
    understood: &[String],
) -> Option<Result<UnverifiedStatement<'a>, Refusal>> {
    let refusal = |code, detail: String| Refusal::new(code, Check::FederationDiscovery, detail);
    Some(match answer {
        Answer::Pending => return None,
        Answer::Unreachable(why) => {
            let detail = format!("no answer from {url}: {why}");
            Err(Refusal::transient(Code::FederationUnreachable, Check::FederationDiscovery, detail))
        }
        // Section 8.1.2: the superior does not know the subject, or no longer does.
        Answer::Status(status @ (404 | 410)) if asked == Asked::Subordinate => {
            Err(refusal(Code::FederationNotAttested, format!("{url} answers with status {status}")))
        }
        Answer::Status(status) => Err(Refusal {
            transient: matches!(status, 408 | 425 | 429 | 500..),
            ..refusal(Code::FederationUnreachable, format!("{url} answers with status {status}"))
        }),
        Answer::Body { bytes, content_type } => std::str::from_utf8(bytes)
            .map_err(|_| refusal(Code::JoseMalformed, format!("the answer from {url} is not text")))
            .and_then(|text| UnverifiedStatement::parse(text, understood))
            .map(|statement| with_content_type(statement, content_type)),
    })
}

fn with_content_type<'a>(mut statement: UnverifiedStatement<'a>, content_type: Option<&str>) -> UnverifiedStatement<'a> {
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(CONTENT_TYPE) {
        let shown: String = essence.chars().take(100).collect();
        let detail = format!("it came as {shown:?}, not as {CONTENT_TYPE}");
        let refusal = Refusal::new(Code::FederationType, Check::FederationDiscovery, detail);
        statement.departures.push(Departure { leniency: Leniency::ContentType, refusal });
    }
    statement
}
