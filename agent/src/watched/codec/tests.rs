use std::time::Duration;

use leakline_core::{Cause, Frame, NativePlace, Site, SiteStat};
use proptest::prelude::*;

use super::*;

const MOST: u64 = 1 << 20;

/// What a watcher gets of one answer.
fn pass(details: &Details, host: &mut Sender, watcher: &mut Receiver) -> Details {
    host.begin(watcher.known());
    let said = DetailsSaid::new(details.clone(), host);
    let answer = Answer {
        cpu: Duration::from_nanos(7),
        held_bytes: 8,
        regions: None,
        has_readers: true,
        additions: host.end(),
        result: Ok(Said::Details(said)),
    };
    let bytes = encode(&answer).unwrap();
    let answer: Answer = decode(&bytes).unwrap();
    watcher.receive(answer.additions).unwrap();
    let Ok(Said::Details(said)) = answer.result else { panic!("other words") };
    said.details(watcher).unwrap()
}

fn path(number: u32) -> Arc<Site> {
    let frames = (0..3).map(|depth| {
        Arc::new(Frame::new(format!("f{}", number / (depth + 1)), format!("/app/{}.py", number % 7), number))
    });
    Arc::new(Site::call_path(frames.collect::<Vec<_>>(), number.is_multiple_of(2)))
}

fn profile(sites: impl IntoIterator<Item = Arc<Site>>) -> Details {
    let stats = sites.into_iter().enumerate().map(|(index, site)| SiteStat {
        site,
        live: Amount { bytes: index as u64 * 1000, blocks: index as u64 },
        standard_error_bytes: 5,
        allocated: index.is_multiple_of(2).then_some(Amount { bytes: 1, blocks: 1 }),
        survived: None,
    });
    let profile = Profile::new(ProfileSource::sampled("sampled", 65_536), stats.collect());
    Details { profiles: vec![Arc::new(profile)], ..Details::default() }
}

#[test]
fn what_a_probe_says_arrives_as_it_was() {
    let native = Frame::in_object("hold", "/lib/a.so", NativePlace { build_id: "0a".into(), address: 9 });
    let site = Site::call_path(vec![Arc::new(native), Arc::new(Frame::new("run", "a.py", 3))], false);
    let mut details = profile([Arc::new(site), Arc::new(Site::class("int[]")), path(4)]);
    details.gauges = vec![Gauge::bytes("python.arena_bytes", 12), Gauge::total("x", 3)];
    details.holders = vec![Holder { of: "list".into(), holder: "a.b".to_owned(), count: 2 }];
    details.cycles = vec![Cycle { python: "a".to_owned(), java: "b".to_owned(), count: 1 }];
    details.gil_held = Duration::from_micros(12);
    details.longest_stall = Duration::from_micros(3);
    details.notes = vec!["a note".to_owned()];
    let (mut host, mut watcher) = (Sender::within(MOST), Receiver::default());
    assert_eq!(pass(&details, &mut host, &mut watcher), details);
    assert_eq!(pass(&details, &mut host, &mut watcher), details);
}

#[test]
fn a_site_travels_once_and_stays_the_same_object() {
    let details = profile((0..500).map(path));
    let (mut host, mut watcher) = (Sender::within(MOST), Receiver::default());
    let first = pass(&details, &mut host, &mut watcher);
    let second = pass(&details, &mut host, &mut watcher);
    let sites = |details: &Details| {
        details.profiles[0].sites().iter().map(|stat| Arc::clone(&stat.site)).collect::<Vec<_>>()
    };
    assert!(sites(&first).iter().zip(sites(&second)).all(|(one, other)| Arc::ptr_eq(one, &other)));
    host.begin(watcher.known());
    DetailsSaid::new(details, &mut host);
    assert!(host.end().is_nothing_to(watcher.known()));
}

#[test]
fn a_lost_answer_begins_the_dictionary_anew() {
    let (mut host, mut watcher) = (Sender::within(MOST), Receiver::default());
    pass(&profile((0..10).map(path)), &mut host, &mut watcher);
    // Nobody hears this one.
    host.begin(watcher.known());
    DetailsSaid::new(profile((5..20).map(path)), &mut host);
    host.end();
    let details = profile((7..30).map(path));
    assert_eq!(pass(&details, &mut host, &mut watcher), details);
}

#[test]
fn more_than_is_kept_arrives_and_is_forgotten() {
    let (mut host, mut watcher) = (Sender::within(20_000), Receiver::default());
    for round in 0..20 {
        let details = profile((round * 13..round * 13 + 60).map(path));
        assert_eq!(pass(&details, &mut host, &mut watcher), details, "round {round}");
        let kept = watcher.known().sites();
        assert!((10..50).contains(&kept), "round {round}: {kept}");
    }
    // A few sites that are used again and again end up in the dictionary.
    let details = profile((1000..1010).map(path));
    for _ in 0..3 {
        assert_eq!(pass(&details, &mut host, &mut watcher), details);
    }
    host.begin(watcher.known());
    DetailsSaid::new(details, &mut host);
    assert!(host.end().is_nothing_to(watcher.known()));
}

#[test]
fn sites_without_end_take_no_more_than_the_bound() {
    let (mut host, mut watcher) = (Sender::within(20_000), Receiver::default());
    for round in 0..500 {
        let details = profile((round * 10..round * 10 + 10).map(path));
        assert_eq!(pass(&details, &mut host, &mut watcher), details, "round {round}");
        assert!(host.held() <= 20_000, "round {round}: {}", host.held());
        assert!(watcher.known().sites() < 100, "round {round}: {:?}", watcher.known());
    }
}

#[test]
fn regions_arrive_with_their_kinds_and_what_is_gone_is_forgotten() {
    let region = |start, kind| Region { start, end: start + 10, kind };
    let sources = [("jvm", vec![region(5, kinds::JAVA_HEAP), region(50, "nobody's")]), ("mapped", vec![])];
    let sent: Regions = decode(&encode(&Regions::new(3, &sources)).unwrap()).unwrap();
    assert_eq!(sent.change, 3);
    assert_eq!(sent.by_source(), [("python", vec![]), ("jvm", vec![region(5, kinds::JAVA_HEAP)])]);
}

/// What a watcher does with whatever a host says.
fn take(bytes: &[u8]) {
    let mut watcher = Receiver::default();
    let Ok(answer) = decode::<Answer>(bytes) else { return };
    if watcher.receive(answer.additions).is_ok()
        && let Ok(Said::Details(said)) = answer.result
    {
        said.details(&watcher).ok();
    }
    if let Some(regions) = answer.regions {
        regions.by_source();
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_watcher_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        take(&bytes);
        decode::<Question>(&bytes).ok();
    }

    #[test]
    fn no_damage_to_an_answer_makes_the_watcher_panic(
        sites in 1_u32..20, at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut host = Sender::within(MOST);
        host.begin(Known::default());
        let said = DetailsSaid::new(profile((0..sites).map(path)), &mut host);
        let regions = Some(Regions::new(1, &[("jvm", vec![Region { start: 1, end: 2, kind: kinds::MAPPED }])]));
        let answer = Answer {
            cpu: Duration::ZERO, held_bytes: 0, has_readers: false, regions, additions: host.end(), result: Ok(Said::Details(said)),
        };
        let mut bytes = encode(&answer).unwrap();
        let index = at.index(bytes.len());
        bytes[index] = with;
        take(&bytes);
        take(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn questions_arrive_as_they_were(nanos in any::<u64>(), runtime in any::<u32>(), numbers in any::<Vec<u64>>()) {
        let at = Timestamp { unix_nanos: nanos, boot_nanos: nanos / 3 };
        let tick = Tick { cause: Cause::Tick, at, deadline_boot_nanos: nanos };
        for job in [
            Job::Tell { runtime, numbers },
            Job::Probe { custom: false, job: ProbeJob::Gauges(tick) },
            Job::Probe { custom: true, job: ProbeJob::Request(ProbeRequest::Census) },
            Job::Look,
            Job::Malloc,
        ] {
            let question = Question { known: Known::default(), regions: nanos, job };
            prop_assert_eq!(decode::<Question>(&encode(&question).unwrap()).unwrap(), question);
        }
    }
}
