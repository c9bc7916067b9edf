// error: E0451
//! `ClientMetadata` is what passed every rule.
use countersign::judge::metadata::ClientMetadata;

fn main() {
    let _ = ClientMetadata { name: None, redirect_uris: [].into(), web_application: false, grant_types: None, scope: None, keys: [].into(), auth_method: None, software_id: None, software_version: None };
}
