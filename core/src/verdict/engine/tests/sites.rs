//! Which sites are named, by which source, and for whose growth.

use super::*;

/// Anonymous memory grows by 100 KiB a minute, and mappings of one call path by so many KiB: the leaking layers and sites.
fn check_mappings(kib: u64, expected: &[Subject]) {
    let site = Arc::new(Site::class("mmap"));
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..10_u64 {
        let gauges = vec![
            // There is a runtime.
            Gauge::bytes(names::JVM_HEAP_USED, 500 << 10),
            Gauge::bytes(names::ANONYMOUS, (minute * 100 + 5000) << 10),
            Gauge::bytes(names::MALLOC_LIVE, 1000 << 10),
        ];
        let mut snapshot = snapshot_of(minute, gauges);
        snapshot.readings[0].layer = Layer::Native;
        let stat = SiteStat::exact(Arc::clone(&site), Amount { bytes: (minute * kib) << 10, blocks: 1 });
        let source = ProfileSource::exact(ProfileSource::MAPPED);
        snapshot.readings[0].profiles = vec![Arc::new(Profile::new(source, vec![stat]))];
        last = engine.push(&snapshot, None);
    }
    let leaking = last.into_iter().filter(|found| found.kind.leaks()).map(|found| found.subject);
    assert_eq!(leaking.collect::<Vec<_>>(), expected, "{kib}");
}

#[test]
fn mappings_that_make_up_what_no_layer_explains_are_natives() {
    let site = Subject::Site(Layer::Native, Arc::new(Site::class("mmap")));
    check_mappings(90, &[Subject::Layer(Layer::Native), site.clone()]);
    // Of a mapping that is not touched to its end, too.
    check_mappings(8000, &[Subject::Layer(Layer::Native), site]);
    check_mappings(20, &[Subject::Layer(Layer::Process)]);
}

/// Python leaks 100 KiB a minute. `sources` are words `source/epoch/minute:KiB*minutes`, one site each: from that minute
/// on its site, which is called as the source, grows by so much each minute. The answer is the sites that are named.
fn check_sources(sources: &str, expected: &str) {
    let parsed: Vec<(&str, u64, u64, u64)> = sources
        .split_whitespace()
        .map(|word| {
            let (source, kib) = word.split_once(':').unwrap();
            let parts: Vec<&str> = source.split('/').collect();
            (parts[0], parts[1].parse().unwrap(), parts[2].parse().unwrap(), kib.parse().unwrap())
        })
        .collect();
    let mut engine = VerdictEngine::default();
    let mut last = Vec::new();
    for minute in 0..12_u64 {
        let mut snapshot =
            snapshot_of(minute, vec![Gauge::bytes(names::PYTHON_TRACED, (minute * 100 + 5000) << 10)]);
        snapshot.readings[0].layer = Layer::Python;
        let mut profiles: Vec<Arc<Profile>> = Vec::new();
        for (name, epoch, from, kib) in parsed.iter().filter(|(_, _, from, _)| minute >= *from) {
            let site = match *name {
                ProfileSource::TYPES => Site::class("types"),
                name => {
                    let frame = Frame::new(name, "a.py", 1);
                    Site::call_path(vec![Arc::new(frame)], false)
                }
            };
            let live = Amount { bytes: (kib * (minute - from)) << 10, blocks: 1 };
            let source = ProfileSource::exact((*name).to_owned()).in_epoch(*epoch);
            profiles.retain(|profile| profile.source().name != source.name);
            profiles.push(Arc::new(Profile::new(source, vec![SiteStat::exact(Arc::new(site), live)])));
        }
        snapshot.readings[0].profiles = profiles;
        last = engine.push(&snapshot, None);
    }
    let named: Vec<String> = last
        .iter()
        .filter_map(|verdict| match &verdict.subject {
            Subject::Site(_, site) => {
                let name = match site.holder() {
                    crate::SiteHolder::Class(name) => name.to_string(),
                    crate::SiteHolder::CallPath { frames, .. } => frames[0].function.to_string(),
                };
                Some(format!("{name}:{:.0}", verdict.share? * 100.0))
            }
            Subject::Layer(_) => None,
        })
        .collect();
    assert_eq!(named.join(" "), expected, "{sources}");
}

#[test]
fn of_several_sources_the_one_that_explains_most_is_told_of() {
    check_sources("sampled/0/0:60", "sampled:60");
    check_sources("sampled/0/0:60 exact/0/0:95", "exact:95");
    check_sources("sampled/0/0:60 tracemalloc/0/0:40", "sampled:60");
    check_sources("sampled/0/0:60 mapped/0/0:40", "sampled:60");
    check_sources("sampled/0/0:5 mapped/0/0:90", "mapped:90");
}

#[test]
fn types_say_where_only_when_nobody_else_does() {
    check_sources("types/0/0:100", "types:100");
    check_sources("sampled/0/0:60 types/0/0:100", "sampled:60");
    check_sources("sampled/0/0:0 types/0/0:100", "");
}

#[test]
fn a_source_that_began_anew_has_no_growth_from_before() {
    check_sources("exact/0/0:60 exact/1/4:60", "exact:60");
    // Too few readings of the new epoch, and none of the old one are mixed into them.
    check_sources("exact/0/0:60 exact/1/8:60", "");
}
