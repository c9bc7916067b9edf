//! Files that only grow, in pieces: `<from>-<to>.<epoch>.<round>.zst`, the bytes from here up to there.
//!
//! Within the rounds that count, pieces hold the same bytes wherever they overlap, so that a reader may take any.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::round::Round;
use super::store::PIECE_MAX;
use super::{KeepError, Store};

/// Puts what a file has from here up to there.
pub(super) async fn put(store: &Store, round: Round, dir: &str, file: &Path, from: u64, to: u64) -> Result<(), KeepError> {
    let mut at = from;
    while at < to {
        let end = to.min(at.saturating_add(u64::try_from(PIECE_MAX).unwrap_or(u64::MAX)));
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE_MAX)];
        File::open(file).and_then(|file| file.read_exact_at(&mut bytes, at)).map_err(KeepError::io(file))?;
        store.create(&format!("{dir}/{}", name(at, end, round)), bytes).await?;
        at = end;
    }
    Ok(())
}

/// A piece that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) path: String,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The pieces of each file below a directory that lead from its beginning to its end, out of the rounds that count. A file whose pieces
/// end early ends there.
pub(super) fn files(listed: &BTreeMap<String, u64>, dir: &str, counts: impl Fn(Round) -> bool) -> BTreeMap<String, Vec<Piece>> {
    let mut found: BTreeMap<String, Vec<Piece>> = BTreeMap::new();
    for path in listed.keys() {
        let Some(rest) = path.strip_prefix(dir).and_then(|rest| rest.strip_prefix('/')) else { continue };
        let (file, piece) = rest.rsplit_once('/').unwrap_or(("", rest));
        if let Some((from, to, _)) = parse(piece).filter(|(_, _, round)| counts(*round)) {
            found.entry(file.to_owned()).or_default().push(Piece { path: path.clone(), from, to });
        }
    }
    found.into_iter().map(|(file, pieces)| (file, chain(pieces))).collect()
}

/// Each piece reaches beyond all before it, and begins where one of them ends, or earlier.
fn chain(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by_key(|piece| (piece.from, piece.to));
    let (mut chained, mut end) = (Vec::new(), 0);
    while let Some(next) = pieces.iter().filter(|piece| piece.from <= end && piece.to > end).max_by_key(|piece| piece.to) {
        end = next.to;
        chained.push(next.clone());
    }
    chained
}

fn name(from: u64, to: u64, round: Round) -> String {
    format!("{from:012}-{to:012}.{round}.zst")
}

fn parse(name: &str) -> Option<(u64, u64, Round)> {
    let (range, round) = name.strip_suffix(".zst")?.split_once('.')?;
    let (from, to) = range.split_once('-')?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from < to).then_some((from, to, Round::parse(round)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_lead_from_the_beginning_as_far_as_they_go() {
        #[track_caller]
        fn check(there: &[(u64, u64)], expect: &[(u64, u64)]) {
            let path = |number: u64, from, to| format!("a/wal/0/{}", name(from, to, Round { epoch: 1, number }));
            let listed = there.iter().map(|(from, to)| (path(1, *from, *to), 1));
            // Whatever a round put that does not count, it is not read.
            let listed = listed.chain([(path(2, 0, 1000), 1)]).collect();
            let files = files(&listed, "a/wal", |round| round.number == 1);
            let found: Vec<_> = files.values().flatten().map(|piece| (piece.from, piece.to)).collect();
            assert_eq!(found, expect, "{there:?}");
        }
        check(&[], &[]);
        check(&[(0, 10), (10, 25)], &[(0, 10), (10, 25)]);
        // A try that ended early, and the one after it.
        check(&[(0, 10), (0, 25), (25, 30)], &[(0, 25), (25, 30)]);
        check(&[(0, 10), (10, 12), (10, 25)], &[(0, 10), (10, 25)]);
        check(&[(0, 10), (0, 25), (10, 30)], &[(0, 25), (10, 30)]);
        // A hole.
        check(&[(0, 10), (12, 25)], &[(0, 10)]);
        check(&[(5, 10)], &[]);
    }
}
