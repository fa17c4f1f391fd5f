//! Entries that no encoder of ours makes: each is refused with the name of the field, and the decoder stays usable.

#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by it")]

mod common;

use common::{encode, fixed_records};
use leakline_proto::limits::{
    MAX_AMOUNTS, MAX_FRAMES, MAX_PROFILES, MAX_READINGS, MAX_SOURCES, MAX_STRING_BYTES,
};
use leakline_proto::v1::{self, entry::Body};
use leakline_proto::{DecodeError, Decoder, Event};
use proptest::prelude::*;

/// A decoder that knows the string "a" and the class "a" as site 0.
fn decoder() -> Decoder {
    let mut decoder = Decoder::new();
    for body in [session(), Body::Epoch(v1::Epoch::default()), Body::Intern(class("a"))] {
        push(&mut decoder, body).unwrap();
    }
    decoder
}

fn session() -> Body {
    let Some(entry) = encode(&[]).into_iter().next() else { unreachable!() };
    entry.body.unwrap()
}

fn class(name: &str) -> v1::Intern {
    v1::Intern { strings: vec![name.to_owned()], sites: vec![class_site(0)], ..v1::Intern::default() }
}

fn class_site(index: u32) -> v1::Site {
    v1::Site { holder: Some(v1::site::Holder::ClassName(index)) }
}

fn call_path(frames: Vec<u32>) -> v1::Site {
    v1::Site { holder: Some(v1::site::Holder::CallPath(v1::CallPath { frames, truncated: false })) }
}

fn amount(site: u32) -> v1::SiteAmount {
    v1::SiteAmount { site, bytes: 1, blocks: 1, ..v1::SiteAmount::default() }
}

/// A change of the profile of no named source.
fn change(probe: impl Into<String>, whole: bool, sites: Vec<v1::SiteAmount>) -> v1::ProfileChange {
    v1::ProfileChange { probe: probe.into(), whole, sites, ..v1::ProfileChange::default() }
}

fn push(decoder: &mut Decoder, body: Body) -> Result<Vec<Event>, DecodeError> {
    decoder.push(v1::Entry { number: decoder.next_number(), body: Some(body) })
}

fn snapshot() -> v1::Snapshot {
    let entries = encode(&fixed_records()[..1]);
    let snapshot = entries.into_iter().find_map(|entry| match entry.body {
        Some(Body::Snapshot(snapshot)) => Some(snapshot),
        _ => None,
    });
    let mut snapshot = snapshot.unwrap();
    for reading in &mut snapshot.readings {
        reading.has_profile = false;
        reading.profile_sources.clear();
    }
    snapshot
}

/// Checks that `body` is refused with `expected`, and that gauges are read afterwards.
fn check(body: Body, expected: &str) {
    let mut decoder = decoder();
    let error = push(&mut decoder, body).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let events = push(&mut decoder, Body::Snapshot(snapshot())).unwrap();
    assert!(matches!(events[..], [Event::Snapshot { .. }]), "{events:?}");
}

#[track_caller]
fn check_snapshot(change: impl FnOnce(&mut v1::Snapshot), expected: &str) {
    let mut snapshot = snapshot();
    change(&mut snapshot);
    check(Body::Snapshot(snapshot), expected);
}

#[track_caller]
fn check_intern(intern: v1::Intern, expected: &str) {
    check(Body::Intern(intern), expected);
}

#[test]
fn missing_fields_are_named() {
    check_snapshot(|snapshot| snapshot.tick = None, "a field is missing: Snapshot.tick");
    check_snapshot(|snapshot| snapshot.own = None, "a field is missing: Snapshot.own");
    check_snapshot(|snapshot| snapshot.tick.as_mut().unwrap().at = None, "a field is missing: Tick.at");
    check_snapshot(|snapshot| snapshot.readings[0].status = None, "a field is missing: Reading.status");
    check_snapshot(|snapshot| snapshot.readings[0].cost = None, "a field is missing: Reading.cost");
    check_snapshot(|snapshot| snapshot.readings[0].layer = 0, "a field is missing: Reading.layer");
    check_snapshot(
        |snapshot| snapshot.readings[0].has_profile = true,
        "a field is missing: ProfileChange of a reading with a profile",
    );
    check(Body::Mark(v1::Mark::default()), "a field is missing: Mark.at");
    check(Body::End(v1::End::default()), "a field is missing: End.at");
    check_intern(
        v1::Intern { sites: vec![v1::Site::default()], ..Default::default() },
        "a field is missing: Site.holder",
    );
}

#[test]
fn values_of_a_newer_leakline_are_named() {
    check_snapshot(
        |snapshot| snapshot.readings[0].layer = 99,
        "unknown value 99, perhaps of a newer leakline: Reading.layer",
    );
    check_snapshot(
        |snapshot| snapshot.verdicts[0].kind = -1,
        "unknown value -1, perhaps of a newer leakline: Verdict.kind",
    );
}

#[test]
fn indices_that_name_nothing_are_named() {
    let sites = vec![amount(1)];
    check(
        Body::Profile(change("p".to_owned(), true, sites)),
        "index 1 names nothing, only 1 were told: SiteAmount.site",
    );
    check_snapshot(
        |snapshot| snapshot.verdicts[0].site = Some(7),
        "index 7 names nothing, only 1 were told: Verdict.site",
    );
    let frames = vec![v1::Frame { function: 0, file: 5, line: 0, ..v1::Frame::default() }];
    check_intern(
        v1::Intern { frames, ..Default::default() },
        "index 5 names nothing, only 1 were told: Frame.file",
    );
    let native = v1::Frame { build_id: Some(9), address: Some(1), ..v1::Frame::default() };
    check_intern(
        v1::Intern { frames: vec![native], ..Default::default() },
        "index 9 names nothing, only 1 were told: Frame.build_id",
    );
    check_intern(
        v1::Intern { sites: vec![call_path(vec![0])], ..Default::default() },
        "index 0 names nothing, only 0 were told: CallPath.frames",
    );
    check_intern(
        v1::Intern { sites: vec![class_site(u32::MAX)], ..Default::default() },
        "index 4294967295 names nothing, only 1 were told: Site.class_name",
    );
}

#[test]
fn more_than_the_bounds_is_refused() {
    let long = "x".repeat(MAX_STRING_BYTES + 1);
    check_intern(
        v1::Intern { strings: vec![long.clone()], ..Default::default() },
        "4097 are too many, at most 4096 are taken: Intern.strings",
    );
    check_intern(
        v1::Intern { sites: vec![call_path(vec![0; MAX_FRAMES + 1])], ..Default::default() },
        "257 are too many, at most 256 are taken: CallPath.frames",
    );
    check_snapshot(
        |snapshot| snapshot.readings = vec![snapshot.readings[0].clone(); MAX_READINGS + 1],
        "257 are too many, at most 256 are taken: Snapshot.readings",
    );
    check_snapshot(
        |snapshot| snapshot.readings[0].profile_sources = vec![String::new(); MAX_SOURCES + 1],
        "9 are too many, at most 8 are taken: Reading.profile_sources",
    );
    check(
        Body::Profile(change(long, true, Vec::new())),
        "4097 are too many, at most 4096 are taken: ProfileChange.probe",
    );
}

#[test]
fn a_table_grows_to_its_bound_only() {
    let mut decoder = decoder();
    let piece = v1::Intern { strings: vec!["x".repeat(4000); 200], ..Default::default() };
    let error = (0..1000).find_map(|_| push(&mut decoder, Body::Intern(piece.clone())).err()).unwrap();
    assert!(matches!(error, DecodeError::TooLarge { field: "Intern.strings", .. }), "{error}");
}

#[test]
fn text_is_gone_through_to_a_bound_only() {
    let mut decoder = decoder();
    let frames = vec![v1::Frame { function: 1, file: 1, line: 0, ..v1::Frame::default() }];
    push(
        &mut decoder,
        Body::Intern(v1::Intern { strings: vec!["x".repeat(4096)], frames, sites: Vec::new() }),
    )
    .unwrap();
    let piece = v1::Intern { sites: vec![call_path(vec![0; 256]); 100], ..Default::default() };
    let error = (0..1000).find_map(|_| push(&mut decoder, Body::Intern(piece.clone())).err()).unwrap();
    assert!(matches!(error, DecodeError::TooLarge { field: "Intern.sites", .. }), "{error}");
}

#[test]
fn profiles_grow_to_their_bound_only() {
    let mut decoder = decoder();
    let sites = 20_000;
    for _ in 0..sites / 1000 {
        push(
            &mut decoder,
            Body::Intern(v1::Intern { sites: vec![class_site(0); 1000], ..Default::default() }),
        )
        .unwrap();
    }
    let amounts: Vec<_> = (0..sites).map(amount).collect();
    let error = (0..MAX_READINGS).find_map(|probe| {
        let changed = change(format!("{probe}"), true, amounts.clone());
        push(&mut decoder, Body::Profile(changed)).err()
    });
    let limit = MAX_AMOUNTS as u64;
    assert_eq!(error, Some(DecodeError::TooLarge { size: limit + 1, limit, field: "ProfileChange.sites" }));
}

#[test]
fn only_so_many_profiles_are_followed() {
    let mut decoder = decoder();
    for number in 0..=MAX_PROFILES as u64 {
        let source = format!("{number}");
        let begun = v1::ProfileChange { source, ..change("p", true, Vec::new()) };
        let told = push(&mut decoder, Body::Profile(begun));
        let limit = MAX_PROFILES as u64;
        let too_many = DecodeError::TooLarge { size: limit + 1, limit, field: "ProfileChange.source" };
        assert_eq!(told, if number < limit { Ok(Vec::new()) } else { Err(too_many) });
    }
}

#[test]
fn a_change_to_a_profile_that_was_never_told_is_refused() {
    check(
        Body::Profile(change("p".to_owned(), false, Vec::new())),
        "a profile's first change in an epoch is whole: ProfileChange.whole",
    );
}

#[test]
fn a_session_needs_an_identity() {
    let Body::Session(mut session) = session() else { unreachable!() };
    session.id.pop();
    let entry = v1::Entry { number: 0, body: Some(Body::Session(session)) };
    assert_eq!(Decoder::new().push(entry).unwrap_err().to_string(), "an identity has 16 bytes: Session.id");
}

#[test]
fn an_entry_of_a_kind_that_only_a_newer_leakline_knows_leaves_the_rest_as_it_is() {
    let mut decoder = decoder();
    let unknown = v1::Entry { number: decoder.next_number(), body: None };
    assert_eq!(decoder.push(unknown), Err(DecodeError::Missing("Entry.body")));
    let sites = vec![amount(0)];
    let changed = change("p".to_owned(), true, sites);
    assert_eq!(push(&mut decoder, Body::Profile(changed)), Ok(Vec::new()));
}

#[test]
fn the_last_number_of_all_is_refused_and_the_gap_before_it_is_not_forgotten() {
    let mut decoder = decoder();
    let last = v1::Entry { number: u64::MAX, body: Some(Body::Epoch(v1::Epoch::default())) };
    let error = DecodeError::Invalid { reason: "there is no number after it", field: "Entry.number" };
    assert_eq!(decoder.push(last), Err(error));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn entries_in_any_order_with_any_number_never_panic(
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0..40_u64), 0..60),
    ) {
        let entries = encode(&fixed_records());
        let mut decoder = Decoder::new();
        for (pick, number) in picks {
            let body = entries[pick.index(entries.len())].body.clone();
            let _ = decoder.push(v1::Entry { number, body });
        }
    }
}
