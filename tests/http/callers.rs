//! Who may call, and from where.

use std::collections::BTreeMap;

use countersign::config::{Role, Token};
use countersign::http::{App, Server};
use countersign::values::Digest;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::oneshot;

use super::questions::check_problem;
use crate::case::CLIENT;
use crate::world::{Face, World, call, talk};

fn token(secret: &str, roles: &[Role]) -> Token {
    Token { sha256: Digest::of(secret.as_bytes()).hex(), roles: roles.to_vec() }
}

#[tokio::test]
async fn tokens_open_what_their_roles_cover_and_nothing_else() {
    let world = World::with(|config| {
        config.http.tokens = BTreeMap::from([
            ("gateway".to_owned(), token("v", &[Role::Verify])),
            ("responder".to_owned(), token("r", &[Role::Respond])),
            ("operator".to_owned(), token("o", &[Role::Operate])),
        ]);
    })
    .await;
    let face = Face::of(&world.service, &world.config).await;
    let question = json!({ "client": { "id": CLIENT } }).to_string();
    let order = json!({ "client": "https://client.example/x", "reason": "r" }).to_string();
    // What each of nobody, a stranger, and the three may do.
    let (deny, all) = ([401, 401, 403, 403, 403], [200; 5]);
    for (method, path, body, expect) in [
        ("POST", "/v1/decisions", question.as_str(), [401, 401, 200, 403, 403]),
        ("GET", "/v1/decisions", "", [401, 401, 403, 200, 200]),
        ("GET", "/v1/decisions/x", "", [401, 401, 403, 404, 404]),
        ("POST", "/v1/decisions/x/replay", "", [401, 401, 403, 404, 404]),
        ("GET", "/v1/revocations", "", [401, 401, 403, 200, 200]),
        ("GET", "/v1/anchors", "", [401, 401, 403, 200, 200]),
        ("GET", "/v1/inventory", "", [401, 401, 403, 200, 200]),
        ("GET", "/v1/clients/x", "", [401, 401, 403, 404, 404]),
        ("GET", "/metrics", "", [401, 401, 403, 200, 200]),
        ("POST", "/v1/revocations", &order, [401, 401, 403, 403, 201]),
        ("DELETE", "/v1/revocations/1", "", [401, 401, 403, 403, 201]),
        ("POST", "/v1/clients/x/refresh", "", [401, 401, 403, 403, 200]),
        ("POST", "/v1/reload", "", [401, 401, 403, 403, 200]),
        ("GET", "/healthz", "", all),
        ("GET", "/readyz", "", all),
        ("GET", "/openapi.json", "", all),
        ("POST", "/v1/reload", &"x".repeat(1 << 20), [deny[0], deny[1], deny[2], deny[3], 200]),
    ] {
        let callers = [None, Some("Bearer x"), Some("Bearer v"), Some("bearer r"), Some("BEARER  o")];
        for (caller, expect) in callers.into_iter().zip(expect) {
            let headers: Vec<_> = caller.map(|value| ("authorization", value)).into_iter().collect();
            let reply = call(face.address, method, path, &headers, body).await;
            // Whoever is turned away before the body is read may see the connection go.
            let Ok(reply) = reply else {
                assert!(body.len() > 1000, "{method} {path}");
                continue;
            };
            assert_eq!(reply.status, expect, "{method} {path} as {caller:?}: {}", reply.text());
            match expect {
                401 => {
                    check_problem(&reply, 401, "caller.unauthorized");
                    assert_eq!(reply.header("www-authenticate"), "Bearer");
                }
                403 => drop(check_problem(&reply, 403, "caller.forbidden")),
                _ => {}
            }
        }
    }
    for odd in ["Bearer", "Bearer ", "Basic dg==", "v", "Bearer v x", "Bearer \u{e4}"] {
        let reply = call(face.address, "POST", "/v1/decisions", &[("authorization", odd)], &question).await.unwrap();
        check_problem(&reply, 401, "caller.unauthorized");
    }
    let orders = world.service.kills().orders();
    assert_eq!(orders.iter().map(|order| order.by.as_str()).collect::<Vec<_>>(), ["operator", "operator"]);
}

#[tokio::test]
async fn a_unix_socket() {
    let world = World::start().await;
    let path = world.directory().join("countersign.sock");
    let listen = format!("unix:{}", path.display());
    // A socket that a killed process left behind is replaced; a file is not ours to remove.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let app = || App::new(world.service.clone(), world.config.clone());
    let server = Server::bind(&listen, app()).await.unwrap();
    assert_eq!(server.url().unwrap(), listen);
    assert!(Server::bind(&listen, app()).await.is_err_and(|error| error.to_string().contains("another process listens")));
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(server.run(async { drop(stopped.await) }));
    let question = json!({ "client": { "id": CLIENT } }).to_string();
    let stream = UnixStream::connect(&path).await.unwrap();
    let reply = talk(stream, "POST", "/v1/decisions", &[], &question).await.unwrap();
    assert_eq!((reply.status, reply.json()["decision"].as_str()), (200, Some("allow")));
    stop.send(()).unwrap();
    running.await.unwrap();
    assert!(!path.exists(), "the socket is left behind");
    std::fs::write(&path, "precious").unwrap();
    assert!(Server::bind(&listen, app()).await.is_err_and(|error| error.to_string().contains("not a socket")));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    world.check_evidence(&[reply.json()]).await;
}

#[tokio::test]
async fn listening_where_one_cannot() {
    let world = World::start().await;
    for listen in ["nonsense", "127.0.0.1:notaport", "192.0.2.1:0", "unix:/nowhere/at/all.sock"] {
        let bound = Server::bind(listen, App::new(world.service.clone(), world.config.clone())).await;
        assert!(bound.is_err_and(|error| error.to_string().contains(listen)), "{listen}");
    }
}
