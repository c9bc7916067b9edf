//! Names of tiles (c2sp.org/tlog-tiles).

use std::fmt;

/// How many hashes, or entries, a full tile has.
pub const TILE: u64 = 256;
/// The level of the last tile that a tree of 2^64 leaves could have is 7; the specification lets names go up to 63.
const LEVEL_MAX: u8 = 63;
/// Seven elements of three digits hold all 64 bits.
const ELEMENTS_MAX: usize = 7;

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TileKind {
    /// Hashes of complete subtrees of 256^level leaves.
    Hashes(u8),
    /// The records themselves.
    Entries,
}

/// A tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tile {
    /// What it holds.
    pub kind: TileKind,
    /// Which one, from the left.
    pub index: u64,
    /// How many hashes or entries: 1 to 256.
    pub width: u16,
}

impl Tile {
    /// How many hashes there are at a level of tiles when the tree has so many leaves. A hash of a subtree that is not complete is none.
    #[must_use]
    pub const fn hashes_at(level: u8, size: u64) -> u64 {
        if level >= 8 { 0 } else { size >> (8 * level) }
    }

    /// The tiles of a level for a tree of this size: how many full ones, and the width of the partial one behind them, or 0.
    #[must_use]
    pub fn tiles_at(level: u8, size: u64) -> (u64, u16) {
        let hashes = Self::hashes_at(level, size);
        (hashes / TILE, u16::try_from(hashes % TILE).unwrap_or(0))
    }

    /// The level of its hashes in the tree of tiles; entries are below the leaves of the same tiles.
    #[must_use]
    pub const fn level(&self) -> u8 {
        match self.kind {
            TileKind::Hashes(level) => level,
            TileKind::Entries => 0,
        }
    }

    /// Whether it has all 256.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width == 256
    }

    /// Whether a tree of this size has all of it.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        let end = self.index.checked_mul(TILE).and_then(|begin| begin.checked_add(u64::from(self.width)));
        end.is_some_and(|end| end <= Self::hashes_at(self.level(), size))
    }

    /// Reads `tile/<L>/<N>[.p/<W>]` or `tile/entries/<N>[.p/<W>]`. `None` for anything but the one spelling of a tile.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let kind = match level {
            "entries" => TileKind::Entries,
            level => TileKind::Hashes(canonical(level).filter(|level| *level <= u64::from(LEVEL_MAX))?.try_into().ok()?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, canonical(width).filter(|width| (1..TILE).contains(width))?),
            None => (rest, TILE),
        };
        let tile = Self { kind, index: parse_index(index)?, width: u16::try_from(width).ok()? };
        (tile.to_string() == path).then_some(tile)
    }
}

/// A decimal number without leading zeros.
fn canonical(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

/// `x001/x234/067` is 1234067.
fn parse_index(text: &str) -> Option<u64> {
    let elements: Vec<&str> = text.split('/').collect();
    let (last, before) = elements.split_last()?;
    if elements.len() > ELEMENTS_MAX {
        return None;
    }
    let mut index: u64 = 0;
    for element in before.iter().map(|element| element.strip_prefix('x')).chain([Some(*last)]) {
        let digits = element.filter(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
    }
    Some(index)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
        }
        let (mut elements, mut rest) = (vec![self.index % 1000], self.index / 1000);
        while rest > 0 {
            elements.push(rest % 1000);
            rest /= 1000;
        }
        while let Some(element) = elements.pop() {
            let (prefix, end) = if elements.is_empty() { ("", "") } else { ("x", "/") };
            write!(f, "{prefix}{element:03}{end}")?;
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}
