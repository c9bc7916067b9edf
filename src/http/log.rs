//! The log for outsiders, as c2sp.org/tlog-tiles lays it out: `/log/` is the prefix of the epoch being written, `/log/epoch-<n>/` that of
//! each epoch. Records name clients and addresses, so that callers need the role `respond`.

use std::io::{self, Write as _};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use flate2::{Compression, write::GzEncoder};

use super::App;
use super::problem::Problem;
use crate::archive::DataDir;
use crate::evidence::merkle::{TILE, Tile, TileKind};
use crate::evidence::personal::Day;
use crate::evidence::{LogReader, ReadError, SignedCheckpoint, TreeReader, notes, proofs};
use crate::record::{DecisionId, Record};
use crate::retention;

/// Tiles never change. Not `public`: entries name clients and addresses, and a shared cache asks nobody for a role.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
/// A checkpoint is old after a second, and a partial tile is replaced by wider ones.
const FLEETING: &str = "no-store";
/// A few threads make tiles at a time: a reader of the whole log must not take those that answer questions.
pub(super) const TILES_AT_ONCE: usize = 2;

/// A checkpoint, a tile or a bundle of records (c2sp.org/tlog-tiles): `checkpoint`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>[.p/<W>]`,
/// of an earlier epoch behind `epoch-<n>/`. A partial tile is there for each size up to that of the newest checkpoint.
#[utoipa::path(get, path = "/log/{*path}", responses(
    (status = 200, description = "text of a signed note, or bytes"),
    (status = 404, description = "no such tile, or not covered by a checkpoint yet", body = Problem),
))]
pub(super) async fn file(State(app): State<App>, Path(path): Path<String>, headers: HeaderMap) -> Response {
    let Ok(_permit) = Arc::clone(&app.0.tiles).acquire_owned().await else {
        return Problem::busy("the server is stopping").into_response();
    };
    let gzip = accepts_gzip(&headers);
    let made = tokio::task::spawn_blocking(move || serve(&app, &path, gzip)).await;
    made.unwrap_or_else(|error| Problem::internal(error.to_string()).into_response())
}

/// The proof that a decision's record is in the log (c2sp.org/tlog-proof). Waits up to three seconds for a checkpoint that covers it.
#[utoipa::path(get, path = "/v1/decisions/{id}/proof", responses(
    (status = 200, description = "a `.tlog-proof`", content_type = "text/plain"),
    (status = 404, description = "no such decision", body = Problem),
    (status = 409, description = "no checkpoint covers it", body = Problem),
))]
pub(super) async fn proof(State(app): State<App>, Path(id): Path<String>) -> Response {
    let service = app.service().clone();
    if let Some(id) = DecisionId::parse(&id).filter(|id| is_current(&app, id.epoch)) {
        let _ = service.checkpoint_over(id.index).await;
    }
    super::evidence::read(&app, move |data: &DataDir, origin| {
        let located = data.find(&id, origin)?;
        let reader = service.log_reader();
        let signed = notes::covering(reader.dir(), located.epoch, located.index)?;
        let proof = signed.map(|signed| proofs::prove(reader, located.epoch, located.index, &signed)).transpose()?.flatten();
        Ok(match proof {
            Some(proof) => response(proof.to_string(), "text/plain; charset=utf-8", FLEETING),
            None => Problem::conflict("no checkpoint covers this record yet; ask again in a second").into_response(),
        })
    })
    .await
}

fn is_current(app: &App, epoch: u32) -> bool {
    app.service().log().name().rsplit('/').next().is_some_and(|current| current == epoch.to_string())
}

fn serve(app: &App, path: &str, gzip: bool) -> Response {
    let absent = || Problem::not_found("no such tile, or no checkpoint covers it (c2sp.org/tlog-tiles)").into_response();
    let reader = app.service().log_reader();
    let current = app.service().log().name().rsplit('/').next().and_then(|epoch| epoch.parse::<u32>().ok()).unwrap_or(0);
    let (epoch, path) = match path.strip_prefix("epoch-").and_then(|rest| rest.split_once('/')) {
        Some((epoch, path)) => match epoch.parse::<u32>().ok().filter(|number| number.to_string() == epoch) {
            Some(epoch) => (epoch, path),
            None => return absent(),
        },
        None => (current, path),
    };
    let signed = match notes::newest(reader.dir(), epoch) {
        Ok(Some(signed)) => signed,
        Ok(None) => return absent(),
        Err(error) => return Problem::internal(error.to_string()).into_response(),
    };
    // Ours beside the specification's: for who wants cosignatures rather than the newest second.
    if path == "checkpoint.witnessed" {
        return match notes::cosigned(reader.dir(), epoch) {
            Ok(Some(cosigned)) => response(cosigned.note.to_string(), "text/plain; charset=utf-8", FLEETING),
            Ok(None) => absent(),
            Err(error) => Problem::internal(error.to_string()).into_response(),
        };
    }
    if path == "checkpoint" {
        return response(signed.note.to_string(), "text/plain; charset=utf-8", FLEETING);
    }
    let Some(tile) = Tile::parse(path).filter(|tile| is_served(tile, &signed)) else { return absent() };
    let bytes = match tile_of(reader, epoch, &tile) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Problem::gone("records of this tile are kept no longer (tlog-tiles, pruning)").into_response(),
        Err(error) => return Problem::internal(error.to_string()).into_response(),
    };
    let mut response = match (tile.kind, gzip) {
        (TileKind::Entries, true) => match compressed(&bytes) {
            Ok(smaller) => {
                let mut response = response(smaller, "application/octet-stream", IMMUTABLE);
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            }
            Err(_) => response(bytes, "application/octet-stream", IMMUTABLE),
        },
        _ => response(bytes, "application/octet-stream", IMMUTABLE),
    };
    if tile.kind == TileKind::Entries {
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

/// A tile; `None` when its records are denied, or are not here any more. Hashes say nothing about a record, and are served as long as
/// they are here.
fn tile_of(reader: &LogReader, epoch: u32, tile: &Tile) -> Result<Option<Vec<u8>>, ReadError> {
    if tile.kind == TileKind::Entries {
        let denied =
            retention::denied_before(reader.dir()).map_err(|error| ReadError::io(reader.dir())(io::Error::other(error)))?;
        let last = tile.index.saturating_mul(TILE).saturating_add(u64::from(tile.width)).saturating_sub(1);
        let found = if denied.is_some() { reader.get(epoch, last) } else { Ok(None) };
        let record = match found {
            Err(error) if error.is_removed() => return Ok(None),
            found => found?.and_then(|record| Record::decode(&record.bytes).ok()),
        };
        if record.is_some_and(|record| Some(Day::of(record.at())) < denied) {
            return Ok(None);
        }
    }
    match TreeReader::new(reader, epoch).tile(tile) {
        Err(error) if error.is_removed() => Ok(None),
        made => made.map(Some),
    }
}

/// What a checkpoint covers and nothing more: nobody is shown a record before its tree is signed.
fn is_served(tile: &Tile, signed: &SignedCheckpoint) -> bool {
    tile.is_within(signed.checkpoint.size)
}

pub(super) fn compressed(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Whether gzip is acceptable (RFC 9110 section 12.5.3): named, and not with a weight of zero.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse().is_ok_and(|q: f32| q <= 0.0)));
        named && !refused
    })
}

fn response(body: impl Into<Body>, kind: &'static str, caching: &'static str) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}
