//! The newest version that was seen of each signed list, across restarts: an older one, however valid, never takes its place.
//!
//! Whoever can answer for a list's host, or replay its answers, could otherwise hide a revocation behind a list that is a day old and has a
//! month to go.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::evidence::{Disk, create_dirs, read_json, replace_json};
use crate::judge::status::StatusList;
use crate::judge::x509::VerifiedCrl;
use crate::judge::x509::crl::Number;
use crate::values::Timestamp;

/// So many lists are remembered: those of a large federation. Beyond, the one whose list is the oldest is forgotten.
const LISTS_MAX: usize = 10_000;
/// The files' names.
const NAME: &str = "status-lists.json";
const CRLS: &str = "crls.json";

/// Why floors cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}; without it an older list could hide a revocation. Remove the file only if that cannot be")]
pub struct FloorsError {
    path: PathBuf,
    source: io::Error,
}

/// What was seen of each list.
#[derive(Debug)]
pub struct Floors {
    dir: PathBuf,
    lists: BTreeMap<String, Floor>,
    /// By issuer's key and scope ([`VerifiedCrl::series`]).
    crls: BTreeMap<String, CrlFloor>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrlFloor {
    /// CRLNumber of the newest, in hexadecimal.
    number: String,
    issued: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    /// `iat` of the newest.
    issued: Timestamp,
    bits: u8,
    entries: u64,
}

impl Floors {
    /// Of a data directory.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn open(data_dir: &Path) -> Result<Self, FloorsError> {
        let dir = data_dir.join("floors");
        let (lists, crls) = (dir.join(NAME), dir.join(CRLS));
        let lists = read_json(&lists).map_err(|source| FloorsError { path: lists, source })?;
        let crls = read_json(&crls).map_err(|source| FloorsError { path: crls, source })?;
        Ok(Self { dir, lists: lists.unwrap_or_default(), crls: crls.unwrap_or_default() })
    }

    /// Takes note of a verified list, durably, before it is used. Says what is odd about it: fewer entries than before, whose statements
    /// are refused from now on, or entries of another size.
    ///
    /// # Errors
    /// Says why the list does not count: it is older than one that was seen.
    pub fn raise(&mut self, list: &StatusList) -> Result<Option<String>, String> {
        let new = Floor { issued: list.issued(), bits: list.bits(), entries: list.entries() };
        let mut odd = None;
        if let Some(floor) = self.lists.get(list.uri()) {
            if new.issued < floor.issued {
                return Err(format!("it was issued at {}, and one of {} was seen", new.issued, floor.issued));
            }
            if new.bits != floor.bits {
                odd = Some(format!("it has {} bits an entry, and had {}", new.bits, floor.bits));
            }
            if new.entries < floor.entries {
                odd = Some(format!("it has {} entries, and had {}", new.entries, floor.entries));
            }
            if new == *floor {
                return Ok(None);
            }
        }
        let before = self.lists.insert(list.uri().to_owned(), new);
        if self.lists.len() > LISTS_MAX {
            let oldest = self.lists.iter().min_by_key(|(_, floor)| floor.issued).map(|(uri, _)| uri.clone());
            oldest.and_then(|oldest| self.lists.remove(&oldest));
        }
        self.write().map(|()| odd).map_err(|error| {
            match before {
                Some(before) => self.lists.insert(list.uri().to_owned(), before),
                None => self.lists.remove(list.uri()),
            };
            format!("that it was seen cannot be made durable: {error}")
        })
    }

    /// Takes note of a verified certificate revocation list, durably, before it is used. One that cannot say good is not noted: it hides
    /// nothing, and the numbers of delta lists run ahead of their base.
    ///
    /// # Errors
    /// Says why the list does not count: its number is lower than one that was seen.
    pub fn raise_crl(&mut self, list: &VerifiedCrl, at: Timestamp) -> Result<(), String> {
        let Some(number) = list.number().filter(|_| list.counts(at)) else { return Ok(()) };
        let series = list.series().to_string();
        let new = CrlFloor { number: number.to_string(), issued: list.this_update() };
        if let Some(floor) = self.crls.get(&series) {
            let seen = Number::from_hex(&floor.number).ok_or("what was seen of it cannot be read")?;
            if number < seen {
                return Err(format!("its CRLNumber is {number} (hexadecimal), and {seen} was seen"));
            }
            if *floor == new {
                return Ok(());
            }
        }
        let before = self.crls.insert(series.clone(), new);
        if self.crls.len() > LISTS_MAX {
            let oldest = self.crls.iter().min_by_key(|(_, floor)| floor.issued).map(|(series, _)| series.clone());
            oldest.and_then(|oldest| self.crls.remove(&oldest));
        }
        let written = create_dirs(&Disk, &self.dir).and_then(|()| replace_json(&self.dir, CRLS, &self.crls));
        written.map_err(|error| {
            match before {
                Some(before) => self.crls.insert(series, before),
                None => self.crls.remove(&series),
            };
            format!("that it was seen cannot be made durable: {error}")
        })
    }

    fn write(&self) -> io::Result<()> {
        create_dirs(&Disk, &self.dir)?;
        replace_json(&self.dir, NAME, &self.lists)
    }
}
