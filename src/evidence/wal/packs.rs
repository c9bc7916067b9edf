//! Writing blobs, and values that can be erased, before the records that name them.

use std::sync::Arc;

use super::super::blobs::{self, Packed};
use super::super::frame::{self, Header, Kind};
use super::super::personal::{self, Day};
use super::super::scan::Chain;
use super::super::storage::create_dirs;
use super::{Active, Trouble, Writer, fatal};

impl Writer {
    /// Writes the blobs that are not there yet and makes them durable. Each frame of them gets its own fdatasync, so that the rule
    /// that recovery relies on holds for packs as well.
    pub(super) fn write_blobs(&mut self, blobs: &[Packed]) -> Result<(), Trouble> {
        let shared = Arc::clone(&self.shared);
        let mut wanted: Vec<&Packed> = Vec::new();
        for blob in blobs {
            let durable = match blob.day {
                None => shared.blobs.contains(&blob.digest),
                Some(day) => shared.personal.contains(day, &blob.digest),
            };
            if !durable && !wanted.iter().any(|other| (other.day, other.digest) == (blob.day, blob.digest)) {
                wanted.push(blob);
            }
        }
        // One frame holds the values of one day.
        wanted.sort_by_key(|blob| blob.day);
        for of_a_day in wanted.chunk_by(|one, other| one.day == other.day) {
            self.write_blobs_of(of_a_day)?;
        }
        Ok(())
    }

    fn write_blobs_of(&mut self, blobs: &[&Packed]) -> Result<(), Trouble> {
        let mut rest = blobs;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |blob: &&&Packed| {
                bytes += blob.stored_len();
                bytes <= frame::MAX_PAYLOAD
            };
            let (group, later) = rest.split_at(rest.iter().take_while(fits).count().max(1).min(rest.len()));
            match group.first().and_then(|blob| blob.day) {
                None => self.write_blob_frame(group)?,
                Some(day) => self.write_personal_frame(day, group)?,
            }
            rest = later;
        }
        Ok(())
    }

    fn write_blob_frame(&mut self, group: &[&Packed]) -> Result<(), Trouble> {
        let (mut active, mut chain) = match self.pack.take() {
            Some((active, chain)) if active.offset < self.pack_bytes => (active, chain),
            _ => {
                let pack = self.next_pack;
                let path = blobs::pack_path(&self.shared.blob_dir, pack);
                let active = Active::create(self.storage.as_ref(), path, 0)?;
                self.next_pack = pack.saturating_add(1);
                (active, Chain::begin(blobs::pack_log_id(), pack))
            }
        };
        let (pack, at) = (chain.epoch, active.offset);
        let appended = self.append_blobs(&mut active, &mut chain, group);
        if appended.is_ok() {
            self.shared.blobs.insert(pack, at, group.iter().map(|blob| blob.as_stored()));
        }
        self.pack = Some((active, chain));
        appended
    }

    fn write_personal_frame(&mut self, day: Day, group: &[&Packed]) -> Result<(), Trouble> {
        let (mut active, mut chain) = match self.personal.take() {
            Some((of, active, chain)) if of == day && active.offset < self.pack_bytes => (active, chain),
            _ => {
                let dir = personal::day_dir(&self.shared.dir, day);
                create_dirs(self.storage.as_ref(), &dir).map_err(fatal("create", &dir))?;
                let pack = personal::next_pack(&dir, self.chain.epoch).map_err(fatal("list", &dir))?;
                let active = Active::create(self.storage.as_ref(), blobs::pack_path(&dir, pack), 0)?;
                self.shared.personal.forget();
                (active, Chain::begin(blobs::pack_log_id(), pack))
            }
        };
        let appended = self.append_blobs(&mut active, &mut chain, group);
        if appended.is_ok() {
            self.shared.personal.insert(day, group.iter().map(|blob| blob.digest));
        }
        self.personal = Some((day, active, chain));
        appended
    }

    fn append_blobs(&mut self, active: &mut Active, chain: &mut Chain, group: &[&Packed]) -> Result<(), Trouble> {
        let mut buffer = std::mem::take(&mut self.scratch);
        frame::begin(&mut buffer);
        group.iter().for_each(|blob| frame::push_blob(&mut buffer, &blob.as_stored()));
        let Chain { log_id, epoch, next_seq, next_index, prev } = *chain;
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let header =
            Header { kind: Kind::Blobs, epoch, log_id, seq: next_seq, first_index: next_index, count, prev, payload_len: 0 };
        let hash = frame::finish(&mut buffer, header.clone());
        let appended = active.append(&buffer);
        if appended.is_ok() {
            chain.advance(&header, hash);
            self.space.written = self.space.written.saturating_add(u64::try_from(buffer.len()).unwrap_or(u64::MAX));
        }
        self.scratch = buffer;
        appended.map(|_| ())
    }
}
