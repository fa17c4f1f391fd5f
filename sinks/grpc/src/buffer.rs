//! The entries that the collector has not acknowledged yet, in order, within bounds.
//! Pure: no clock, no I/O, no tasks; knows entries only as numbered bytes.

use std::collections::VecDeque;

use leakline_core::Loss;

/// What the buffer needs to know of an entry besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Begins an epoch: from here on entries can be read without those before.
    Epoch,
    /// Completes a snapshot.
    Snapshot,
    /// Tells the collector of a loss.
    Lost(Loss),
    /// Anything else.
    Other,
}

/// One entry, encoded.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) number: u64,
    pub(crate) content: Content,
    pub(crate) bytes: Vec<u8>,
}

/// How much may be held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) snapshots: u64,
}

/// What the reader on the other side can do with what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continuity {
    /// Everything new can build on what was told before.
    Unbroken,
    /// What was told before is missing there: a new epoch has to begin.
    Broken,
}

/// A collector that asks for entries that were never made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FromTheFuture {
    /// What it asked for.
    pub(crate) asked: u64,
    /// The number of the next entry that will be made.
    pub(crate) next: u64,
}

/// What is held, and what became of what was.
#[derive(Debug)]
pub(crate) struct Buffer {
    entries: VecDeque<Held>,
    bounds: Bounds,
    next: u64,
    bytes: u64,
    snapshots: u64,
    newest_epoch: u64,
    continuity: Continuity,
    delivered: Loss,
    lost: Loss,
    /// The part of `lost` that no entry tells of yet.
    untold: Loss,
}

impl Buffer {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            entries: VecDeque::new(),
            bounds,
            next: 0,
            bytes: 0,
            snapshots: 0,
            newest_epoch: 0,
            continuity: Continuity::Unbroken,
            delivered: Loss::default(),
            lost: Loss::default(),
            untold: Loss::default(),
        }
    }

    /// Number of the oldest entry that is held, or of the next one to be made.
    pub(crate) fn oldest(&self) -> u64 {
        self.entries.front().map_or(self.next, |held| held.number)
    }

    /// Number of the next entry to be made.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the next record must begin an epoch.
    pub(crate) fn continuity(&self) -> Continuity {
        self.continuity
    }

    /// Acknowledged so far: snapshots, and bytes of all entries.
    pub(crate) fn delivered(&self) -> Loss {
        self.delivered
    }

    /// Dropped so far.
    pub(crate) fn lost(&self) -> Loss {
        self.lost
    }

    /// The entry with this number, where it is still held.
    pub(crate) fn get(&self, number: u64) -> Option<&Held> {
        // Numbers have no gap inside the buffer, as only its front is ever dropped.
        self.entries.get(usize::try_from(number.checked_sub(self.oldest())?).ok()?)
    }

    /// Whether entries of `bytes` could be held if everything else were dropped.
    pub(crate) fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.bounds.bytes
    }

    /// Drops the oldest snapshots, with what belongs to them, until `bytes` and one snapshot more fit.
    /// After `Broken`, only the beginning of an epoch may be pushed.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Continuity {
        while !self.entries.is_empty()
            && (self.bytes.saturating_add(bytes) > self.bounds.bytes
                || self.snapshots >= self.bounds.snapshots)
        {
            self.drop_oldest();
        }
        self.continuity
    }

    /// Appends an entry, whose number is [`next`](Self::next).
    pub(crate) fn push(&mut self, held: Held) {
        debug_assert_eq!(held.number, self.next, "numbers have no gap");
        self.next = held.number + 1;
        if held.content == Content::Epoch {
            self.newest_epoch = held.number;
            self.continuity = Continuity::Unbroken;
        }
        self.bytes += held.bytes.len() as u64;
        self.snapshots += u64::from(held.content == Content::Snapshot);
        self.entries.push_back(held);
    }

    /// Counts a record that was encoded but is too large to be held.
    pub(crate) fn skip(&mut self, loss: Loss) {
        self.count_lost(loss);
        self.continuity = Continuity::Broken;
    }

    fn count_lost(&mut self, loss: Loss) {
        add(&mut self.lost, loss);
        add(&mut self.untold, loss);
    }

    /// The loss that no entry tells of yet, once.
    pub(crate) fn take_untold(&mut self) -> Option<Loss> {
        let untold = std::mem::take(&mut self.untold);
        (untold != Loss::default()).then_some(untold)
    }

    /// The collector has everything before `next` on disk. Says whether that released anything.
    pub(crate) fn acknowledge(&mut self, next: u64) -> Result<bool, FromTheFuture> {
        if next > self.next {
            return Err(FromTheFuture { asked: next, next: self.next });
        }
        let mut released = false;
        while self.entries.front().is_some_and(|held| held.number < next) {
            let Some(held) = self.pop() else { break };
            self.delivered.snapshots += u64::from(held.content == Content::Snapshot);
            self.delivered.bytes += held.bytes.len() as u64;
            released = true;
        }
        Ok(released)
    }

    /// A new connection: the collector wants entries from `next` on. Gives the number to send first, which is higher
    /// where those are gone.
    pub(crate) fn resume(&mut self, next: u64) -> Result<u64, FromTheFuture> {
        self.acknowledge(next)?;
        let oldest = self.oldest();
        if next < oldest && oldest > self.newest_epoch {
            self.continuity = Continuity::Broken;
        }
        Ok(oldest)
    }

    /// Drops the oldest snapshot and what comes before it; where there is none, everything.
    pub(crate) fn drop_oldest(&mut self) {
        while let Some(held) = self.pop() {
            if held.number >= self.newest_epoch {
                self.continuity = Continuity::Broken;
            }
            let snapshots = u64::from(held.content == Content::Snapshot);
            self.count_lost(Loss { snapshots, bytes: held.bytes.len() as u64 });
            match held.content {
                Content::Lost(loss) => add(&mut self.untold, loss),
                Content::Snapshot => return,
                Content::Epoch | Content::Other => {}
            }
        }
    }

    /// Nobody will take what is held any more.
    pub(crate) fn drop_all(&mut self) {
        while !self.entries.is_empty() {
            self.drop_oldest();
        }
    }

    fn pop(&mut self) -> Option<Held> {
        let held = self.entries.pop_front()?;
        self.bytes -= held.bytes.len() as u64;
        self.snapshots -= u64::from(held.content == Content::Snapshot);
        Some(held)
    }
}

fn add(sum: &mut Loss, loss: Loss) {
    sum.snapshots = sum.snapshots.saturating_add(loss.snapshots);
    sum.bytes = sum.bytes.saturating_add(loss.bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { bytes: 100, snapshots: 5 };

    /// Each letter is an entry of 10 bytes: `e`poch, `s`napshot, `o`ther.
    fn push(buffer: &mut Buffer, entries: &str) {
        for letter in entries.chars() {
            let content = match letter {
                'e' => Content::Epoch,
                's' => Content::Snapshot,
                _ => Content::Other,
            };
            buffer.push(Held { number: buffer.next(), content, bytes: vec![0; 10] });
        }
    }

    fn shown(buffer: &Buffer) -> String {
        let letter = |held: &Held| match held.content {
            Content::Epoch => 'e',
            Content::Snapshot => 's',
            Content::Lost(_) => 'l',
            Content::Other => 'o',
        };
        buffer.entries.iter().map(letter).collect()
    }

    fn holding(entries: &str) -> Buffer {
        let mut buffer = Buffer::new(BOUNDS);
        push(&mut buffer, entries);
        buffer
    }

    /// What is left of `entries` after room for `bytes` was made, and whether a new epoch must begin.
    #[track_caller]
    fn check_room(entries: &str, bytes: u64, left: &str, continuity: Continuity) {
        let mut buffer = holding(entries);
        assert_eq!(buffer.make_room(bytes), continuity);
        assert_eq!(shown(&buffer), left);
        let gone: Vec<char> = entries.chars().take(entries.len() - left.len()).collect();
        let snapshots = gone.iter().filter(|letter| **letter == 's').count() as u64;
        assert_eq!(buffer.lost(), Loss { snapshots, bytes: 10 * gone.len() as u64 });
        assert_eq!(buffer.oldest(), gone.len() as u64);
    }

    #[test]
    fn nothing_is_dropped_while_there_is_room() {
        check_room("eoseos", 40, "eoseos", Continuity::Unbroken);
        check_room("", 100, "", Continuity::Unbroken);
    }

    #[test]
    fn the_oldest_snapshots_go_as_a_whole() {
        check_room("eosos" /* 50 */, 60, "os", Continuity::Broken);
        check_room("eoseos", 50, "eos", Continuity::Unbroken);
        check_room("eososeos", 30, "oseos", Continuity::Unbroken);
        check_room("eoseos", 80, "", Continuity::Broken);
    }

    #[test]
    fn snapshots_are_counted_as_well_as_bytes() {
        check_room("esssss", 10, "ssss", Continuity::Broken);
    }

    #[test]
    fn an_epoch_heals_what_was_broken() {
        let mut buffer = holding("eosos");
        assert_eq!(buffer.make_room(60), Continuity::Broken);
        push(&mut buffer, "eos");
        assert_eq!(buffer.continuity(), Continuity::Unbroken);
    }

    #[test]
    fn what_is_acknowledged_counts_as_delivered_and_not_as_lost() {
        let mut buffer = holding("eosos");
        assert_eq!(buffer.acknowledge(3), Ok(true));
        assert_eq!(buffer.acknowledge(3), Ok(false));
        assert_eq!((buffer.delivered(), buffer.lost()), (Loss { snapshots: 1, bytes: 30 }, Loss::default()));
        assert_eq!((buffer.oldest(), buffer.bytes()), (3, 20));
        assert_eq!(buffer.acknowledge(6), Err(FromTheFuture { asked: 6, next: 5 }));
    }

    #[test]
    fn a_collector_that_has_everything_else_resumes_where_it_stopped() {
        let mut buffer = holding("eososos");
        buffer.acknowledge(3).unwrap();
        assert_eq!((buffer.resume(5), buffer.continuity()), (Ok(5), Continuity::Unbroken));
    }

    #[test]
    fn a_collector_that_lost_its_disk_gets_what_is_held_and_then_an_epoch() {
        let mut buffer = holding("eosos");
        buffer.acknowledge(3).unwrap();
        assert_eq!((buffer.resume(0), buffer.continuity()), (Ok(3), Continuity::Broken));
        let mut with_epoch = holding("eoseos");
        with_epoch.acknowledge(3).unwrap();
        assert_eq!((with_epoch.resume(0), with_epoch.continuity()), (Ok(3), Continuity::Unbroken));
        let mut empty = holding("eos");
        empty.acknowledge(3).unwrap();
        assert_eq!((empty.resume(0), empty.continuity()), (Ok(3), Continuity::Broken));
    }

    #[test]
    fn a_loss_is_told_once_and_again_when_the_telling_was_lost() {
        let mut buffer = holding("eos");
        buffer.make_room(100);
        let loss = Loss { snapshots: 1, bytes: 30 };
        assert_eq!((buffer.take_untold(), buffer.take_untold()), (Some(loss), None));
        buffer.push(Held { number: 3, content: Content::Lost(loss), bytes: vec![0; 10] });
        buffer.make_room(100);
        assert_eq!(buffer.take_untold(), Some(Loss { snapshots: 1, bytes: 40 }));
    }
}
