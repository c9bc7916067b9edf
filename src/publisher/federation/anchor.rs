//! The trust-anchor file that a verifier needs to believe this federation.

use super::{Federation, FederationError, claims};

/// The file's text. Who approves it, and what it may vouch for, is for the verifier's operator to say: it does not load before.
///
/// # Errors
/// Never of a federation that was loaded.
pub fn file(federation: &Federation) -> Result<String, FederationError> {
    let entity = federation.entity.id();
    let name: String = entity.trim_start_matches("https://").chars().filter(char::is_ascii_graphic).take(128).collect();
    let mut keys = String::new();
    let set = claims::jwks(federation)?;
    let all = set.as_object().and_then(|set| set.get("keys")).and_then(crate::values::json::Json::as_array);
    for key in all.unwrap_or_default().iter().filter_map(crate::values::json::Json::as_object) {
        let members = key.iter().filter_map(|(name, value)| Some(format!("{name} = {:?}", value.as_str()?)));
        keys.push_str(&format!("    {{ {} }},\n", members.collect::<Vec<_>>().join(", ")));
    }
    let prints: String = federation.keys.iter().map(|key| format!("#   {}\n", key.public().thumbprint().base64url())).collect();
    Ok(format!(
        "# The trust anchor {entity}, for verifiers.\n\
         # Before you approve it, compare the thumbprints of its keys (RFC 7638) with what its operator tells you by another way:\n\
         {prints}\n\
         id   = {name:?}\n\
         kind = \"openid-federation\"\n\n\
         [approval]\n\
         by     = \"\"            # who approves it at your side\n\
         ticket = \"\"\n\
         # on    = 2026-01-31\n\
         # until = 2026-07-31\n\n\
         [vouches]\n\
         classes = []           # the most that its members may get, such as [\"partner\"]\n\
         scopes  = []\n\
         tools   = []\n\n\
         [federation]\n\
         entity_id = {entity:?}\n\
         jwks = {{ keys = [\n{keys}] }}\n"
    ))
}
