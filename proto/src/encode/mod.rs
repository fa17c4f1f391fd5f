//! A session's records as numbered entries.
//! Pure: no I/O, no clock. Never changes what it is given, but for the cuts that [`crate::limits`] names.

mod fit;
mod table;

use std::cmp::Ordering;

use leakline_core::{Profile, ProfileSource, Record, Session, SiteId, Snapshot, Subject, Timestamp, Verdict};
use rustc_hash::FxHashMap;

use self::fit::fit;
use self::table::{News, Table};
use crate::convert::{SiteNumbers, amount_to_wire, cut_to, source_name, verdict_to_wire};
use crate::limits::{
    EPOCH_TABLE_BYTES, KEYFRAME_EVERY, MAX_AMOUNTS, MAX_PROFILES, MAX_SOURCES, MAX_TABLE_BYTES, SPLIT_BYTES,
};
use crate::v1::{self, entry::Body};

/// The longest reason that [`Encoder::cut`] writes.
const MAX_CUT_REASON_BYTES: usize = 160;

/// Turns one session's records into entries.
///
/// Strings, frames and sites are told once in an epoch, and a profile as the sites that changed since the last one of its
/// probe and source. An epoch begins at the start, every [`KEYFRAME_EVERY`] snapshots, when the table has grown
/// ([`EPOCH_TABLE_BYTES`]), and when the caller asks for one with [`restart`](Self::restart).
///
/// Holds what it told in this epoch, and each source's last profile as indices and amounts: [`held_bytes`](Self::held_bytes).
/// Both are bounded, by [`within`](Self::within) below what the format allows: where there are more sites, the smallest are
/// left out, which a note of the reading says.
#[derive(Debug)]
pub struct Encoder {
    session: v1::Session,
    next: u64,
    epochs: u64,
    table: Table,
    /// By probe and source.
    sent: FxHashMap<(String, String), SentProfile>,
    /// Whether the next record begins an epoch.
    due: bool,
    snapshots_in_epoch: u64,
    /// What the table took after the epoch's first snapshot.
    first_table_bytes: u64,
    bounds: Bounds,
}

/// What an encoder may hold.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Most bytes of an epoch's table.
    table_bytes: u64,
    /// An epoch that has grown past this and to twice of what it began with makes room for a new one.
    epoch_bytes: u64,
    /// Most sites in all profiles.
    amounts: usize,
}

impl Default for Bounds {
    /// What the format allows.
    fn default() -> Self {
        Self { table_bytes: MAX_TABLE_BYTES, epoch_bytes: EPOCH_TABLE_BYTES, amounts: MAX_AMOUNTS }
    }
}

/// What was last told of a profile; the sites by identity.
#[derive(Debug)]
struct SentProfile {
    source: ProfileSource,
    sites: Vec<Sent>,
}

/// What was last told of a site in a profile.
#[derive(Debug, Clone, Copy)]
struct Sent {
    id: SiteId,
    index: u32,
    numbers: SiteNumbers,
}

impl Encoder {
    /// An encoder whose first entry has number 0.
    pub fn new(session: &Session) -> Self {
        Self {
            session: session.into(),
            next: 0,
            epochs: 0,
            table: Table::within(MAX_TABLE_BYTES),
            sent: FxHashMap::default(),
            due: true,
            snapshots_in_epoch: 0,
            first_table_bytes: 0,
            bounds: Bounds::default(),
        }
    }

    /// The same, in at most about `bytes`: two thirds for the table, where a call path of 20 frames takes some 350, and
    /// the rest for amounts, at about 100 for each site of each profile. Within a table's two thirds, a new epoch comes
    /// at the half, so that what no longer lives leaves in time.
    #[must_use]
    pub fn within(mut self, bytes: u64) -> Self {
        let (table, amounts) = (bytes / 3 * 2, bytes / 3 / size_of::<Sent>() as u64);
        self.bounds = Bounds {
            table_bytes: table.min(MAX_TABLE_BYTES),
            epoch_bytes: (table / 2).min(EPOCH_TABLE_BYTES),
            amounts: usize::try_from(amounts).unwrap_or(MAX_AMOUNTS).min(MAX_AMOUNTS),
        };
        self.table = Table::within(self.bounds.table_bytes);
        self
    }

    /// The entries that a session begins with. `record` makes them itself where this was not called.
    pub fn start(&mut self) -> Vec<v1::Entry> {
        self.restart()
    }

    /// Begins a new epoch: what comes after can be read without what came before. For when entries were lost on their
    /// way, and for the beginning of a file.
    pub fn restart(&mut self) -> Vec<v1::Entry> {
        self.table = Table::within(self.bounds.table_bytes);
        self.sent = FxHashMap::default();
        self.due = false;
        self.snapshots_in_epoch = 0;
        self.first_table_bytes = 0;
        let epoch = v1::Epoch { index: self.epochs };
        self.epochs += 1;
        let session = self.session.clone();
        vec![self.entry(Body::Session(session)), self.entry(Body::Epoch(epoch))]
    }

    /// As `restart`, where the entries from number `next` on were made but will never leave (they did not fit into a
    /// file): their numbers are given again.
    pub fn restart_from(&mut self, next: u64) -> Vec<v1::Entry> {
        self.abandon_from(next);
        self.restart()
    }

    /// Says that the entries from number `next` on will never leave: their numbers are given again, and the next record
    /// begins an epoch.
    pub fn abandon_from(&mut self, next: u64) {
        self.next = self.next.min(next);
        self.due = true;
    }

    /// The entries for `record`, each within [`MAX_ENTRY_BYTES`](crate::limits::MAX_ENTRY_BYTES).
    pub fn record(&mut self, record: &Record) -> Vec<v1::Entry> {
        let mut entries = if self.due { self.restart() } else { Vec::new() };
        match record {
            Record::Snapshot { snapshot, verdicts } => self.snapshot(snapshot, verdicts, &mut entries),
            Record::Mark(mark) => entries.push(self.entry(Body::Mark(mark.into()))),
            Record::Lost(loss) => entries.push(self.entry(Body::Lost((*loss).into()))),
        }
        entries
    }

    /// The entry that a session ends with.
    pub fn end(&mut self, at: Timestamp) -> v1::Entry {
        self.entry(Body::End(v1::End { at: Some(at.into()), reason: String::new() }))
    }

    /// The entry that says why nothing follows. Should something follow all the same, it takes this one's place: the number
    /// is given again, and the next record begins an epoch. `reason` is cut at 160 bytes.
    pub fn cut(&mut self, at: Timestamp, reason: &str) -> v1::Entry {
        let number = self.next;
        let reason = cut_to(reason, MAX_CUT_REASON_BYTES).into_owned();
        let entry = self.entry(Body::End(v1::End { at: Some(at.into()), reason }));
        self.abandon_from(number);
        entry
    }

    /// The session, as entries and `Hello` carry it.
    pub fn session(&self) -> &v1::Session {
        &self.session
    }

    /// The number of the next entry.
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// About what the encoder holds in memory.
    pub fn held_bytes(&self) -> u64 {
        let sent: usize = self.sent.values().map(|sent| sent.sites.capacity() * size_of::<Sent>()).sum();
        self.table.bytes() + sent as u64
    }

    fn entry(&mut self, body: Body) -> v1::Entry {
        let number = self.next;
        self.next += 1;
        v1::Entry { number, body: Some(body) }
    }

    fn snapshot(&mut self, snapshot: &Snapshot, verdicts: &[Verdict], entries: &mut Vec<v1::Entry>) {
        let grown = self.table.bytes() > self.bounds.epoch_bytes.max(2 * self.first_table_bytes);
        if self.snapshots_in_epoch >= KEYFRAME_EVERY || grown {
            entries.extend(self.restart());
        }
        let (first, before) = (self.next, entries.len());
        self.snapshot_in_epoch(snapshot, verdicts, entries);
        // Something had no room, and a good part of the table is of no use any more.
        let live: usize = self.sent.values().map(|sent| sent.sites.len()).sum();
        if self.table.was_full() && self.snapshots_in_epoch > 1 && live * 4 < self.table.sites() * 3 {
            entries.truncate(before);
            entries.extend(self.restart_from(first));
            self.snapshot_in_epoch(snapshot, verdicts, entries);
        }
    }

    fn snapshot_in_epoch(&mut self, snapshot: &Snapshot, verdicts: &[Verdict], entries: &mut Vec<v1::Entry>) {
        let mut news = News::default();
        let mut message = v1::Snapshot::from(snapshot);
        message.verdicts = self.verdicts(verdicts, &mut news);
        fit(&mut message);
        let mut changes = Vec::new();
        for (reading, told) in snapshot.readings.iter().zip(&mut message.readings) {
            for profile in &reading.profiles {
                let source = source_name(&profile.source().name).into_owned();
                let key = (told.probe.clone(), source.clone());
                let has_room = self.sent.contains_key(&key) || self.sent.len() < MAX_PROFILES;
                let is_told = told.profile_sources.contains(&source);
                if told.profile_sources.len() >= MAX_SOURCES || is_told || !has_room {
                    told.notes.push(format!("the profile `{source}` is left out: there are too many"));
                    continue;
                }
                let left_out = self.profile(key, profile, &mut news, &mut changes);
                told.profile_sources.push(source);
                if left_out > 0 {
                    told.notes.push(format!("{left_out} small sites are left out: the profile is too large"));
                }
            }
            told.has_profile = !told.profile_sources.is_empty();
        }
        entries.extend(news.into_pieces().map(|piece| self.entry(Body::Intern(piece))));
        entries.extend(changes.into_iter().map(|change| self.entry(Body::Profile(change))));
        entries.push(self.entry(Body::Snapshot(message)));
        if self.snapshots_in_epoch == 0 {
            self.first_table_bytes = self.table.bytes();
        }
        self.snapshots_in_epoch += 1;
    }

    /// The verdicts on the wire. One about a site that the full table has no room for is left out.
    fn verdicts(&mut self, verdicts: &[Verdict], news: &mut News) -> Vec<v1::Verdict> {
        let told = verdicts.iter().filter_map(|verdict| {
            let site = match &verdict.subject {
                Subject::Layer(_) => None,
                Subject::Site(_, site) => Some(self.table.site(site, news)?),
            };
            Some(verdict_to_wire(verdict, site))
        });
        told.collect()
    }

    /// Adds to `changes` what changed in the profile of `key`, and says how many sites had no room.
    fn profile(
        &mut self,
        key: (String, String),
        profile: &Profile,
        news: &mut News,
        changes: &mut Vec<v1::ProfileChange>,
    ) -> usize {
        let before = self.sent.remove(&key);
        let source = profile.source();
        let has_changed = before.as_ref().is_none_or(|before| before.source != *source);
        let whole = before.is_none();
        let before = before.map(|before| before.sites).unwrap_or_default();
        let elsewhere: usize = self.sent.values().map(|sent| sent.sites.len()).sum();
        let room = self.bounds.amounts.saturating_sub(elsewhere);
        let (now, left_out) = self.indexed(profile, room, news);
        let sites = differences(&before, &now);
        if has_changed || !sites.is_empty() {
            let first = v1::ProfileChange {
                probe: key.0.clone(),
                whole,
                sites: Vec::new(),
                source: key.1.clone(),
                mean_sample_bytes: source.mean_sample_bytes,
                epoch: source.epoch,
            };
            split(first, sites, changes);
        }
        self.sent.insert(key, SentProfile { source: source.clone(), sites: now });
        left_out
    }

    /// The sites of `profile` by identity, at most `room`, each with its index. The largest get what room there is.
    fn indexed(&mut self, profile: &Profile, room: usize, news: &mut News) -> (Vec<Sent>, usize) {
        let mut stats: Vec<_> =
            profile.sites().iter().filter(|stat| !SiteNumbers::of(stat).is_nothing()).collect();
        stats.sort_by_key(|stat| std::cmp::Reverse(stat.live.bytes));
        let count = stats.len();
        let mut now: Vec<Sent> = stats
            .into_iter()
            .take(room)
            .filter_map(|stat| {
                let index = self.table.site(&stat.site, news)?;
                Some(Sent { id: stat.site.id(), index, numbers: SiteNumbers::of(stat) })
            })
            .collect();
        now.sort_unstable_by_key(|sent| sent.id);
        let left_out = count - now.len();
        (now, left_out)
    }
}

/// The sites of `now` that differ from `before`, after zero for those that are gone, so that a reader never holds more
/// than either. Both by identity.
fn differences(before: &[Sent], now: &[Sent]) -> Vec<v1::SiteAmount> {
    let mut amounts = Vec::new();
    let (mut old, mut new) = (before.iter().peekable(), now.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.id.cmp(&new.id),
        };
        let then = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        if then.map(|sent| sent.numbers) != after.map(|sent| sent.numbers)
            && let Some(sent) = after.or(then)
        {
            let numbers = after.map(|sent| sent.numbers).unwrap_or_default();
            amounts.push((after.is_some(), amount_to_wire(sent.index, numbers)));
        }
    }
    amounts.sort_by_key(|(is_there, _)| *is_there);
    amounts.into_iter().map(|(_, amount)| amount).collect()
}

/// At most this many bytes for one site in a change: its tag and length, a 32-bit index, five 64-bit numbers.
const AMOUNT_BYTES: usize = 64;

/// Adds `sites` to `changes` in pieces that are like `first`.
fn split(first: v1::ProfileChange, mut sites: Vec<v1::SiteAmount>, changes: &mut Vec<v1::ProfileChange>) {
    let mut piece = first;
    loop {
        let rest = sites.split_off(sites.len().min(SPLIT_BYTES / AMOUNT_BYTES));
        changes.push(v1::ProfileChange { sites, ..piece.clone() });
        if rest.is_empty() {
            return;
        }
        sites = rest;
        piece.whole = false;
    }
}
