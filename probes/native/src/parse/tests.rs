//! What the parsers make of the kernel's own words, and of garbage.

use proptest::prelude::*;

use super::*;

#[test]
fn statm_needs_three_numbers() {
    let cases = [
        ("9216 1024 512 24 0 600 0\n", Some((1024, 512))),
        ("0 0 0 0 0 0 0\n", Some((0, 0))),
        ("", None),
        ("1 2", None),
        ("1 x 3", None),
        ("1 99999999999999999999999 3", None),
    ];
    for (text, expected) in cases {
        let found = statm(text.as_bytes()).map(|statm| (statm.resident, statm.shared));
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn meminfo_gives_what_is_there_in_bytes() {
    let text = b"MemTotal: 16000000 kB\nMemAvailable:  8 kB\nSwapTotal: 9 kB\nSwapFree:   2 kB\n";
    assert_eq!(meminfo(text), Meminfo { available: Some(8192), swap_free: Some(2048) });
    assert_eq!(meminfo(b"MemTotal: 1 kB\nMemAvailable: 5 MB\nSwapFree"), Meminfo::default());
}

#[test]
fn status_gives_what_is_there_in_bytes() {
    let text = b"Name:\tpython3: VmSwap: 7 kB\nVmHWM:\t   12 kB\nVmRSS:\t   11 kB\nRssAnon:\t       5 kB\n\
                 RssFile:\t       4 kB\nRssShmem:\t       2 kB\nVmSwap:\t       0 kB\nThreads:\t9\nSigQ:\t1/2\n";
    let expected = Status {
        anonymous: Some(5 * 1024),
        file_backed: Some(4 * 1024),
        shared: Some(2 * 1024),
        swapped: Some(0),
        resident_peak: Some(12 * 1024),
        threads: Some(9),
    };
    assert_eq!(status(text), expected);
    assert_eq!(status(b"Name:\tx\nThreads:\t1\n"), Status { threads: Some(1), ..Status::default() });
    assert_eq!(status(b"VmHWM: 99999999999999999999 kB\nVmSwap: 5 MB\nRssAnon"), Status::default());
}

const SMAPS: &[u8] = b"55d0-55d1 r--p 00000000 08:01 1 /a/Pss:      99 kB\nSize:  4 kB\nRss:  4 kB\nPss:   3 kB\n\
    Pss_Dirty:   2 kB\nSwapPss:   1 kB\nVmFlags: rd\n7f00-7f01 rw-p 0 00:00 0 \nPss:   40 kB\nSwapPss:   2 kB\n";

fn sum(pieces: &[&[u8]]) -> Proportional {
    let mut sum = SmapsSum::new();
    for piece in pieces {
        sum.feed(piece);
    }
    sum.finish()
}

#[test]
fn smaps_are_summed_over_all_mappings() {
    let expected = Proportional { resident: Some(43 * 1024), swapped: Some(3 * 1024) };
    assert_eq!(sum(&[SMAPS]), expected);
    assert_eq!(sum(&[b"Pss: 1 kB"]), Proportional { resident: Some(1024), swapped: None });
    assert_eq!(sum(&[b""]), Proportional::default());
}

#[test]
fn control_groups_are_found_through_their_mounts() {
    let v2 = "29 22 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    let v1 = "33 22 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
              34 22 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";
    let inner = "9 8 0:26 /docker/ab\\040c /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    let cases = [
        (v2, "0::/user.slice/app.scope\n", vec![(2, "/sys/fs/cgroup", "user.slice/app.scope")]),
        (v2, "0::/\n", vec![(2, "/sys/fs/cgroup", "")]),
        (v1, "9:cpu,cpuacct:/x\n4:memory:/y:z\n0::/\n", vec![(1, "/sys/fs/cgroup/memory", "y:z")]),
        (inner, "0::/docker/ab c/job\n", vec![(2, "/sys/fs/cgroup", "job")]),
        (inner, "0::/../elsewhere\n", vec![(2, "/sys/fs/cgroup", "")]),
        (v1, "0::/\n", vec![]),
        ("", "0::/\n", vec![]),
    ];
    for (mountinfo, cgroup, expected) in cases {
        let found = memory_groups(mountinfo, cgroup);
        let found: Vec<_> = found
            .iter()
            .map(|group| (group.version, group.mount.to_str().unwrap(), group.below.to_str().unwrap()))
            .collect();
        assert_eq!(found, expected, "{mountinfo} {cgroup}");
    }
}

#[test]
fn a_limit_is_a_number_or_none() {
    assert_eq!(cgroup_limit(b"536870912\n"), Some(536_870_912));
    assert_eq!(cgroup_limit(b"max\n"), None);
    assert_eq!(cgroup_limit(b""), None);
}

proptest! {
    #[test]
    fn no_parser_panics_on_garbage(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        statm(&bytes);
        status(&bytes);
        meminfo(&bytes);
        sum(&[&bytes]);
        directory_entry(&bytes);
        address_space_limit(&bytes);
        cgroup_limit(&bytes);
        memory_groups(&text, &text);
    }

    #[test]
    fn no_parser_panics_on_kernel_words_in_any_order(words in proptest::collection::vec(
        prop_oneof!["Pss:", "SwapPss:", " kB\n", "[0-9]{1,25}", " ", ":", "\n", "- cgroup2 ", "/", "..", "\\\\04", "memory"], 0..60,
    )) {
        let text = words.concat();
        status(text.as_bytes());
        meminfo(text.as_bytes());
        sum(&[text.as_bytes()]);
        memory_groups(&text, &text);
    }

    #[test]
    fn smaps_do_not_depend_on_where_reads_end(cuts in proptest::collection::vec(0..SMAPS.len(), 0..12)) {
        let mut cuts = cuts;
        cuts.extend([0, SMAPS.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &SMAPS[pair[0]..pair[1]]).collect();
        prop_assert_eq!(sum(&pieces), sum(&[SMAPS]));
    }

    #[test]
    fn numbers_come_back(value in any::<u64>()) {
        prop_assert_eq!(number(value.to_string().as_bytes()), Some(value));
    }
}

#[test]
fn the_limit_of_the_address_space_is_the_soft_one() {
    let line = |soft: &str| format!("Limit  Soft Limit  Hard Limit  Units\nMax address space         {soft}   unlimited   bytes\nMax file locks  1 2\n");
    for (soft, expected) in [("71680000", Some(71_680_000)), ("unlimited", None), ("", None)] {
        assert_eq!(address_space_limit(line(soft).as_bytes()), expected, "{soft}");
    }
    assert_eq!(address_space_limit(b""), None);
}
