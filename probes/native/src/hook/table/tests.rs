use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use leakline_probing::sampler::estimate::weight;
use leakline_probing::sampler::lock::Lock;
use proptest::prelude::*;

use super::read::{Copied, Frames};
use super::write::{Tables, Walked};
use super::*;

const MEAN: u64 = 4096;

/// Tables of their own; the index of the samples is looked at through them only.
fn tables(samples: usize, paths: usize, sharing: Sharing) -> (Tables, Table) {
    let mut tables = Tables::new();
    let room = Room { samples, paths };
    assert!(tables.map(room, sharing, true));
    tables.start(MEAN);
    let table = tables.table.unwrap();
    (tables, table)
}

/// These tests share what the process has once: the filter, and the flag that the index is being changed.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn walked(path: u64, native: &[usize], is_mapping: bool) -> Walked<'_> {
    let hash = path.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(if is_mapping { 32 } else { 0 }) | 1;
    Walked { hash, native, numbers: &[], runtime: 0, is_truncated: false, is_mapping, objects_epoch: 0 }
}

fn frames(path: u64) -> Vec<usize> {
    (0..=path as usize % 40).map(|frame| path as usize * 1000 + frame).collect()
}

fn allocate(tables: &mut Tables, address: usize, size: usize, path: u64) {
    tables.allocated(address, size, walked(path, &frames(path), false));
}

/// By path, of malloc's: live bytes.
fn live(table: &Table, copied: &Copied) -> HashMap<u64, u64> {
    let paths = copied.paths.iter().enumerate().filter(|(_, path)| path.sums.samples > 0 && !path.is_mapping);
    paths
        .map(|(place, path)| {
            let Frames { native, .. } = table.frames(place, path.turn).unwrap();
            let number = native.first().map_or(0, |first| *first as u64 / 1000);
            assert!(place < SHARED_PATHS || native == frames(number), "{native:?}");
            (if place < SHARED_PATHS { u64::MAX } else { number }, path.sums.live.bytes)
        })
        .collect()
}

fn sound(table: &Table, number: u32) -> Copied {
    let copied = table.copy(number).unwrap();
    assert_eq!((copied.fault.clone(), copied.unread_paths), (None, 0));
    copied
}

#[derive(Debug, Clone)]
enum Step {
    Allocate { block: usize, size: usize, path: u64 },
    Free { block: usize },
    Fail { block: usize },
    Map { start: usize, length: usize, path: u64 },
    Unmap { start: usize, length: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0_usize..64, 1_usize..16);
    let step = prop_oneof![
        4 => (1_usize..60, 1_usize..10_000, 1_u64..20)
            .prop_map(|(block, size, path)| Step::Allocate { block, size, path }),
        3 => (1_usize..60).prop_map(|block| Step::Free { block }),
        1 => (1_usize..60).prop_map(|block| Step::Fail { block }),
        2 => (range(), 1_u64..5).prop_map(|((start, length), path)| Step::Map { start, length, path }),
        1 => range().prop_map(|(start, length)| Step::Unmap { start, length }),
    ];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against a map of blocks, and a page table: an array with the path of each page.
    #[test]
    fn it_holds_what_a_map_and_a_page_table_hold(steps in steps()) {
        let _alone = alone();
        let (mut tables, table) = tables(64, 64, Sharing::Private);
        let mut blocks: HashMap<usize, (usize, u64)> = HashMap::new();
        let mut pages = [0_u64; 80];
        for step in steps {
            match step {
                Step::Allocate { block, size, path } => {
                    allocate(&mut tables, block * 16, size, path);
                    blocks.insert(block, (size, path));
                }
                Step::Free { block } => {
                    prop_assert_eq!(tables.freed(block * 16).is_some(), blocks.remove(&block).is_some());
                }
                Step::Fail { block } => {
                    if let Some(freed) = tables.freed(block * 16) {
                        tables.put_back(block * 16, freed);
                    }
                }
                Step::Map { start, length, path } => {
                    tables.map_region(start, length, walked(path, &frames(path), true));
                    pages[start..start + length].fill(path);
                }
                Step::Unmap { start, length } => {
                    tables.unmap_region(start, length);
                    pages[start..start + length].fill(0);
                }
            }
        }
        let copied = sound(&table, 1);
        let mut expected: HashMap<u64, u64> = HashMap::new();
        for (size, path) in blocks.values() {
            *expected.entry(*path).or_default() += weight(*size as u64, MEAN).bytes;
        }
        prop_assert_eq!(live(&table, &copied), expected);
        for path in 1..5 {
            let pages = pages.iter().filter(|page| **page == path).count() as u64;
            let found = copied.paths.iter().enumerate().filter(|(_, path)| path.is_mapping).find(|(place, found)| {
                table.frames(*place, found.turn).is_some_and(|known| known.native == frames(path))
            });
            prop_assert_eq!(found.map_or(0, |(_, path)| path.sums.live.bytes), pages);
        }
        prop_assert!(copied.mapped.is_sorted_by(|one, other| one.end <= other.start));
        prop_assert!((0..80).all(|page| tables.has_region(page) == (pages[page] != 0)));
    }
}

#[test]
fn with_the_default_options_they_take_less_than_ten_mebibytes() {
    let room = Room { samples: 65_536, paths: 16_384 };
    let table = Table::map(room, Sharing::Private).unwrap();
    assert!((6 << 20..10 << 20).contains(&table.bytes()), "{}", table.bytes());
}

#[test]
fn more_paths_than_there_is_room_for_share_one_and_are_counted() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::Private);
    (1..=200).for_each(|path| allocate(&mut tables, path as usize * 16, 5000, path));
    let copied = sound(&table, 1);
    let shared = live(&table, &copied).get(&u64::MAX).copied().unwrap();
    let merged = table.header.counts.merged.load(Relaxed);
    assert!(merged > 0 && shared == merged * weight(5000, MEAN).bytes, "{merged} {shared}");
    assert_eq!(copied.samples, 200);
}

#[test]
fn paths_that_hold_nothing_make_room_for_others() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::Private);
    for path in 1..10_000 {
        allocate(&mut tables, 16, 5000, path);
        if path % 50 != 0 {
            assert!(tables.freed(16).is_some());
        } else {
            // This one stays.
            let _ = tables.freed(16).unwrap();
            allocate(&mut tables, 1600 + path as usize % 1000 * 16, 100, 7);
        }
    }
    let copied = sound(&table, 1);
    let counts = &table.header.counts;
    assert_eq!(counts.merged.load(Relaxed), 0);
    assert!(counts.forgotten.load(Relaxed) > 9000 && live(&table, &copied).len() == 1);
}

#[test]
fn a_full_table_keeps_about_half_of_its_samples_and_says_so() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::Private);
    for block in 1..=1300_usize {
        allocate(&mut tables, block * 16, 64, block as u64 % 10 + 1);
    }
    let copied = sound(&table, 1);
    let estimate: u64 = live(&table, &copied).values().sum();
    let thinned = table.header.counts.thinned.load(Relaxed);
    assert!(
        thinned == 1 && copied.mean == 2 * MEAN && (700..=950).contains(&copied.samples),
        "{thinned} {} {}",
        copied.mean,
        copied.samples
    );
    let truth = 1000 * weight(64, MEAN).bytes + 300 * weight(64, 2 * MEAN).bytes;
    assert!((estimate as f64 / truth as f64 - 1.0).abs() < 0.15, "{estimate} {truth}");
}

#[test]
fn what_was_live_at_three_readings_has_survived() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::Private);
    allocate(&mut tables, 16, 5000, 1);
    tables.map_region(100, 10, walked(2, &frames(2), true));
    let survived = |number| -> (u64, u64) {
        let copied = sound(&table, number);
        let sum = |is_mapping| {
            let paths = copied.paths.iter().filter(|path| path.is_mapping == is_mapping);
            paths.map(|path| path.survived.bytes).sum()
        };
        (sum(false), sum(true))
    };
    assert_eq!((survived(1), survived(2)), ((0, 0), (0, 0)));
    allocate(&mut tables, 32, 5000, 1);
    let one = weight(5000, MEAN).bytes;
    assert_eq!((survived(3), survived(4), survived(5)), ((one, 10), (one, 10), (2 * one, 10)));
}

#[test]
fn a_reader_sees_no_half_of_what_eight_threads_write() {
    let _alone = alone();
    let (tables, table) = tables(4096, 64, Sharing::Private);
    let tables = Arc::new(Lock::new(tables));
    let ends = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_usize)
        .map(|thread| {
            let (tables, ends) = (Arc::clone(&tables), Arc::clone(&ends));
            let write = move || {
                let mut round = 0_usize;
                while !ends.load(Relaxed) {
                    round += 1;
                    let address = (thread << 20 | (round % 300) << 4) + 16;
                    let path = (round % 40) as u64 + 1;
                    tables.with(|tables| {
                        if tables.freed(address).is_none() {
                            allocate(tables, address, 1000 * thread + 100, path);
                        }
                        tables.map_region(round % 200, 3, walked(1, &frames(1), true));
                        tables.unmap_region(round % 190, 2);
                    });
                }
            };
            std::thread::Builder::new().spawn(write).unwrap()
        })
        .collect();
    let mut checked = 0;
    while table.header.live.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
    for number in 1..400 {
        std::thread::yield_now();
        let copied = table.copy(number).unwrap();
        assert_eq!(copied.fault, None);
        assert!(copied.samples <= 8 * 300 && copied.mapped.len() <= 203);
        for (place, path) in copied.paths.iter().enumerate().filter(|(_, path)| !path.is_mapping) {
            checked += path.sums.samples;
            // Every block stands for at least its own size.
            assert!(path.sums.live.bytes >= path.sums.samples * 100, "{path:?}");
            if let Some(known) = table.frames(place, path.turn).filter(|known| !known.native.is_empty()) {
                assert_eq!(known.native, frames(known.native[0] as u64 / 1000));
            }
        }
    }
    ends.store(true, Relaxed);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert!(checked > 0);
    sound(&table, 400);
}

/// Runs `work` in a forked child that ends without any handler; whether it ended by itself.
fn in_child(work: impl FnOnce()) -> libc::c_int {
    // SAFETY: the child does nothing but what is given, and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        work();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    child
}

fn wait(child: libc::c_int) {
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
}

#[test]
fn the_tables_of_a_host_that_was_killed_are_read_by_another_process() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::WithWatcher);
    let child = in_child(|| {
        (1..=500).for_each(|block| allocate(&mut tables, block * 16, 5000, block as u64 % 7 + 1));
        // SAFETY: this process itself.
        unsafe { libc::raise(libc::SIGKILL) };
    });
    wait(child);
    let copied = sound(&table, 1);
    assert_eq!((copied.samples, live(&table, &copied).len()), (500, 7));
}

#[test]
fn a_host_that_stands_still_in_the_middle_of_a_change_is_not_waited_for() {
    let _alone = alone();
    let (mut tables, table) = tables(1000, 100, Sharing::Private);
    (1..=10).for_each(|block| allocate(&mut tables, block * 16, 5000, 1));
    begin_change(&table.header.rebuilds);
    let began = std::time::Instant::now();
    assert!(table.copy(1).is_none() && began.elapsed().as_millis() < 1000);
    end_change(&table.header.rebuilds);
    begin_change(&table.slots[SHARED_PATHS].change);
    begin_change(&table.header.regions_change);
    let copied = table.copy(2).unwrap();
    assert!(copied.unread_paths == 1 && copied.are_mappings_unread && copied.fault.is_none());
    end_change(&table.slots[SHARED_PATHS].change);
    end_change(&table.header.regions_change);
    sound(&table, 3);
}

#[test]
fn any_words_are_read_without_harm() {
    let _alone = alone();
    let (mut tables, table) = tables(64, 16, Sharing::Private);
    (1..=40).for_each(|block| allocate(&mut tables, block * 16, 5000, block as u64 % 12 + 1));
    let mut random = leakline_probing::sampler::random::Random::new(7);
    let words = table.bytes() / 8;
    for round in 0..300_u32 {
        let at = (random.uniform() * if round % 2 == 0 { 2000.0 } else { words as f64 }) as usize % words;
        let value = (random.uniform() * u64::MAX as f64) as u64;
        // SAFETY: a word of the mapping.
        let word = unsafe { table.base.cast::<AtomicU64>().add(at) };
        // SAFETY: aligned, and reached as an atomic only.
        let word = unsafe { word.as_ref() };
        let before = word.swap(value, Relaxed);
        if let Some(copied) = table.copy(round) {
            for (place, path) in copied.paths.iter().enumerate() {
                let _ = table.frames(place, path.turn);
            }
        }
        let _ = table.recorded(0);
        if round % 3 != 0 {
            word.store(before, Relaxed);
        }
    }
}
