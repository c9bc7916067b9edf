//! Where the status lists of an issuer are (draft-ietf-oauth-status-list-21 section 9).

use crate::values::json::Json;
use crate::values::url::PublicUrl;

/// Largest document in bytes: the URIs of a thousand lists.
pub const AGGREGATION_MAX_BYTES: usize = 128 << 10;
/// So many lists of one document are looked at: whoever names more has them fetched when they are asked about.
pub const AGGREGATION_MAX_LISTS: usize = 64;

/// The lists that a document names (section 9.3), each once, as far as they can be fetched and `may_ask` lets them be.
///
/// # Errors
/// Says what the document lacks.
pub fn aggregated(document: &[u8], may_ask: impl Fn(&PublicUrl) -> bool) -> Result<Vec<PublicUrl>, String> {
    let document = Json::parse_object(document).map_err(|error| error.to_string())?;
    let Some(Json::Array(lists)) = document.get("status_lists") else { return Err("it has no `status_lists`".to_owned()) };
    let mut urls = Vec::new();
    for list in lists.iter().take(AGGREGATION_MAX_LISTS) {
        let Json::String(uri) = list else { return Err("an entry of `status_lists` is no text".to_owned()) };
        // One that cannot be fetched does not stop the others.
        urls.extend(PublicUrl::parse(uri).ok().filter(|url| may_ask(url) && !urls.contains(url)));
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expect: Result<&[&str], &str>) {
        let read = aggregated(document.as_bytes(), |url| url.host_text() == "s.example");
        let read = read.map(|urls| urls.iter().map(|url| url.as_str().to_owned()).collect::<Vec<_>>());
        match (read, expect) {
            (Ok(read), Ok(expect)) => assert_eq!(read, expect, "{document}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{document}: {why}"),
            (read, _) => panic!("{document}: {read:?}"),
        }
    }

    #[test]
    fn documents() {
        let (one, two) = ("https://s.example/1", "https://s.example/2");
        check(r#"{"status_lists":["https://s.example/1","https://s.example/2"]}"#, Ok(&[one, two]));
        check(r#"{"status_lists":["https://s.example/1","https://s.example/1"],"x":1}"#, Ok(&[one]));
        check(r#"{"status_lists":["https://other.example/1","http://s.example/1","no","https://s.example/2"]}"#, Ok(&[two]));
        check(r#"{"status_lists":[]}"#, Ok(&[]));
        check(r#"{"status_lists":[7]}"#, Err("no text"));
        check(r#"{"status_lists":{}}"#, Err("no `status_lists`"));
        check("{}", Err("no `status_lists`"));
        check("[]", Err("object"));
        check(r#"{"status_lists":[],"status_lists":[]}"#, Err("status_lists"));
        for (count, expect) in [(64, 64), (65, 64)] {
            let many: Vec<String> = (0..count).map(|number| format!("https://s.example/{number}")).collect();
            let document = serde_json::json!({ "status_lists": many }).to_string();
            assert_eq!(aggregated(document.as_bytes(), |_| true).unwrap().len(), expect);
        }
    }
}
