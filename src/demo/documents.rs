//! Who lives in the demo world: the shapes that real clients publish, and the ways in which others get it wrong.

use serde_json::{Value, json};

use super::origin::Page;
use crate::publisher::keys::issuer::IssuerKey;
use crate::values::Timestamp;

/// A web client, as hosted chat products publish theirs.
pub const CHAT: &str = "https://chat.vendor.example/oauth/client.json";
/// A native client with loopback redirects and no port, as command-line tools publish theirs.
pub const CLI: &str = "https://cli.vendor.example/oauth/metadata.json";
/// Serves another client's document.
pub const THIEF: &str = "https://thief.vendor.example/oauth/client.json";
/// Still uses a shared secret.
pub const LEGACY: &str = "https://legacy.vendor.example/oauth/client.json";
/// Redirects to where its document is now.
pub const MOVED: &str = "https://moved.vendor.example/oauth/client.json";
/// Larger than 5 kB.
pub const HUGE: &str = "https://huge.vendor.example/oauth/client.json";
/// Covered by an anchor whose approval has ended.
pub const PARTNER: &str = "https://app.partner.example/oauth/client.json";
/// Known to nobody.
pub const STRANGER: &str = "https://stranger.example/oauth/client.json";
/// Vouched for by the registry, in statements.
pub const AGENT: &str = "https://agents.acme.example/ledger";
/// Vouched for by the registry too: an agent of a partner, which may launch agents of its own.
pub const PARTNER_AGENT: &str = "https://agents.supplier.example/orders";
/// What [`PARTNER_AGENT`] launches.
pub const SPAWNED_AGENT: &str = "https://agents.supplier.example/orders/reader";
/// The registry: the issuer of statements.
pub const REGISTRY: &str = "https://registry.acme.example";

/// Every host with something on the origin. The stranger and the partner are there too: that nobody asks for them is the point.
pub(super) fn hosts() -> [&'static str; 12] {
    [
        "chat.vendor.example",
        "cli.vendor.example",
        "thief.vendor.example",
        "legacy.vendor.example",
        "moved.vendor.example",
        "huge.vendor.example",
        "app.partner.example",
        "stranger.example",
        "registry.acme.example",
        "ta.federation.example",
        "agents.federation.example",
        "booking.federation.example",
    ]
}

/// Where the registry says which of its statements it took back.
pub const STATUS_LIST: &str = "https://registry.acme.example/status-lists/agents";
/// The entry of a statement that it took back; all others are good.
pub const TAKEN_BACK: u64 = 4711;

/// Everything that the origin serves, by URL.
pub(super) fn all(registry: &IssuerKey, statuses: String) -> Vec<(String, Page)> {
    let page = |url: &str, document: Value| (url.to_owned(), Page::document(&document));
    let huge = with(web(HUGE, "Huge"), "contacts", json!(["x".repeat(6000)]));
    let legacy = with(web(LEGACY, "Legacy"), "token_endpoint_auth_method", json!("client_secret_post"));
    let legacy = with(legacy, "client_secret", json!("hunter2"));
    vec![
        page(CHAT, web(CHAT, "Chat")),
        page(CLI, native(CLI)),
        page(THIEF, web(CHAT, "Chat")),
        page(LEGACY, legacy),
        (MOVED.to_owned(), Page::redirect("https://chat.vendor.example/oauth/client.json")),
        page(HUGE, huge),
        page(PARTNER, web(PARTNER, "Partner")),
        page(STRANGER, web(STRANGER, "Stranger")),
        (format!("{REGISTRY}/jwks.json"), Page::document(&registry.public_set())),
        (STATUS_LIST.to_owned(), Page::status_list(statuses)),
    ]
}

fn with(mut document: Value, name: &str, value: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    document
}

fn web(id: &str, name: &str) -> Value {
    let origin = id.split("/oauth").next().unwrap_or_default();
    json!({
        "client_id": id,
        "client_name": name,
        "client_uri": origin,
        "redirect_uris": [format!("{origin}/api/mcp/auth_callback")],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "scope": "mcp.read mcp.write"
    })
}

fn native(id: &str) -> Value {
    json!({
        "client_id": id,
        "client_name": "Command line",
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/callback", "http://localhost/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none"
    })
}

/// What partners may not do, besides the default policy.
pub(super) const PARTNER_POLICY: &str = r#"// Partners' agents come in for an hour at most.
@id("partners/an-hour")
@ttl("1h")
@obligation("require_proof")
permit (principal in Class::"partner", action == Action::"admit", resource)
unless { principal.redirects };

// They destroy nothing.
@id("partners/no-destructive-tools")
@code("policy.destructive_tool")
@advice("Ask the duty officer for an override, with a ticket.")
forbid (principal in Class::"partner", action == Action::"callTool", resource in ToolGroup::"destructive");
"#;

/// Which tools destroy.
pub(super) const TOOL_GROUPS: &str = r#"[
  { "uid": { "type": "Tool", "id": "files.delete" }, "parents": [{ "type": "ToolGroup", "id": "destructive" }] }
]
"#;

/// The trust anchors, by file name. Approvals run from a day before `at` for 90 days; one ended an hour ago.
pub(super) fn anchors(at: Timestamp) -> [(&'static str, String); 3] {
    let day = std::time::Duration::from_secs(86_400);
    let (on, until) = (at.minus(day), at.plus(day * 90));
    let ended = at.minus(std::time::Duration::from_secs(3600));
    let approval = |ticket: &str, until: Timestamp| {
        format!("[approval]\nby = \"platform-security@acme.example\"\nticket = \"{ticket}\"\non = {on}\nuntil = {until}\n")
    };
    let vendor = format!(
        "id = \"vendor-clients\"\nkind = \"web\"\n{}\
         [vouches]\nclasses = [\"public\"]\nscopes = [\"mcp.*\"]\ntools = [\"search\"]\nmax_lifetime = \"12h\"\n\
         [attributes]\nowner = \"vendor-relations@acme.example\"\npurpose = \"interactive MCP clients\"\n\
         environment = \"production\"\n[web]\norigins = [\"https://*.vendor.example\"]\n",
        approval("SEC-1", until)
    );
    let registry = format!(
        "id = \"acme-registry\"\nkind = \"statement-issuer\"\n{}\
         [vouches]\nclasses = [\"agent\", \"partner\"]\nscopes = [\"files.read\", \"search\"]\ntools = [\"files.*\", \"search\"]\n\
         max_lifetime = \"1h\"\n[source]\ngateways = [\"gw-*\"]\n[revocation]\nstatus_hosts = [\"registry.acme.example\"]\n\
         [statement]\nissuer = \"{REGISTRY}\"\njwks_uri = \"{REGISTRY}/jwks.json\"\nalgorithms = [\"ES256\", \"EdDSA\"]\n",
        approval("SEC-2", until)
    );
    let partner = format!(
        "id = \"partner\"\nkind = \"web\"\n{}[vouches]\nclasses = [\"partner\"]\nscopes = [\"*\"]\n\
         [web]\norigins = [\"https://*.partner.example\"]\n",
        approval("SEC-0", ended)
    );
    [("vendor-clients.toml", vendor), ("acme-registry.toml", registry), ("partner.toml", partner)]
}
