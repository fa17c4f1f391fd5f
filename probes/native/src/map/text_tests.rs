use proptest::prelude::*;

use super::*;

/// As Linux writes it on x86-64.
const LINUX: &str = "\
55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
KernelPageSize:        4 kB
Rss:                 104 kB
Pss:                 104 kB
Pss_Dirty:           104 kB
Shared_Clean:          0 kB
Anonymous:           100 kB
KSM:                   0 kB
AnonHugePages:         0 kB
Swap:                  8 kB
SwapPss:               8 kB
THPeligible:           0
ProtectionKey:         0
VmFlags: rd wr mr mw me ac sd
7f67a4021000-7f67a8000000 ---p 00000000 00:00 0
Rss:                   0 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: mr mw me nr sd
7f6848400000-7f684feb2000 r--s 00000000 fe:00 315140                     /opt/a folder/modules (deleted)
Rss:                 960 kB
Anonymous:             0 kB
Swap:                  0 kB
";

/// As Android writes it on arm64.
const ANDROID: &str = "\
12c00000-52c00000 rw-p 00000000 00:00 0                                  [anon:dalvik-main space (region space)]
Name:           [anon:dalvik-main space (region space)]
Size:            1048576 kB
Rss:               31232 kB
Pss:               31232 kB
Anonymous:         31232 kB
Swap:                512 kB
SwapPss:             512 kB
b400007aa0400000-b400007aa0600000 rw-p 00000000 00:00 0                  [anon:scudo:primary]
Rss:                1024 kB
Anonymous:          1024 kB
Swap:                  0 kB
";

fn counted(text: &str, piece: usize) -> Vec<(u64, u64, Counted)> {
    let (mut lines, mut entries, mut found) = (Lines::default(), Entries::default(), Vec::new());
    for piece in text.as_bytes().chunks(piece) {
        lines.feed(piece, |line| found.extend(entries.line(line)));
    }
    found.extend(entries.finish());
    found
}

#[test]
fn smaps_is_understood_in_pieces_of_any_size() {
    let kib = |resident: u64, anonymous: u64, swapped: u64| Counted {
        resident: resident << 10,
        anonymous: anonymous << 10,
        swapped: swapped << 10,
    };
    for piece in [1, 7, 64, 10_000] {
        assert_eq!(
            counted(LINUX, piece),
            [
                (0x55d0_c8a0_0000, 0x55d0_c8a2_1000, kib(104, 100, 8)),
                (0x7f67_a402_1000, 0x7f67_a800_0000, kib(0, 0, 0)),
                (0x7f68_4840_0000, 0x7f68_4feb_2000, kib(960, 0, 0)),
            ]
        );
        assert_eq!(
            counted(ANDROID, piece),
            [
                (0x12c0_0000, 0x52c0_0000, kib(31_232, 31_232, 512)),
                (0xb400_007a_a040_0000, 0xb400_007a_a060_0000, kib(1024, 1024, 0)),
            ]
        );
    }
}

fn check(text: &str, access: Option<(&str, &str)>) {
    let found = line(text.as_bytes()).map(|line| {
        let Line { access, name, .. } = line;
        let letters = [
            if access.is_none() { '-' } else { 'a' },
            if access.can_write() { 'w' } else { '-' },
            if access.can_execute() { 'x' } else { '-' },
            if access.is_shared() { 's' } else { 'p' },
        ];
        (letters.iter().collect::<String>(), String::from_utf8_lossy(name).into_owned())
    });
    let found = found.as_ref().map(|(letters, name)| (letters.as_str(), name.as_str()));
    assert_eq!(found, access, "{text}");
}

#[test]
fn a_mappings_line_is_told_from_its_fields() {
    check("1000-2000 rw-p 00000000 00:00 0", Some(("aw-p", "")));
    check("1000-2000 ---p 00000000 00:00 0 ", Some(("---p", "")));
    check("1000-2000 rwxs 00000000 fe:00 31   /a b c (deleted)", Some(("awxs", "/a b c (deleted)")));
    check("Rss:                 104 kB", None);
    check("VmFlags: rd wr mr mw me ac sd", None);
    check("2000-1000 rw-p 00000000 00:00 0", None);
    check("1000-2000 rw- 00000000 00:00 0", None);
    check("10000000000000000-2 rw-p 00000000 00:00 0", None);
}

proptest! {
    #[test]
    fn any_bytes_are_survived_and_no_mapping_ends_before_it_begins(
        noise in proptest::collection::vec(any::<u8>(), 0..400), piece in 1_usize..50,
    ) {
        let (mut lines, mut entries) = (Lines::default(), Entries::default());
        for piece in noise.chunks(piece) {
            lines.feed(piece, |line| {
                if let Some((start, end, _)) = entries.line(line) {
                    assert!(start < end);
                }
            });
        }
    }

    #[test]
    fn a_damaged_text_is_survived(
        at in 0..LINUX.len(), noise in proptest::collection::vec(any::<u8>(), 1..30),
    ) {
        let mut text = LINUX.as_bytes().to_vec();
        for (byte, noise) in text[at..].iter_mut().zip(noise) {
            *byte = noise;
        }
        let (mut lines, mut entries, mut found) = (Lines::default(), Entries::default(), 0);
        lines.feed(&text, |line| found += usize::from(entries.line(line).is_some()));
        prop_assert!(found <= text.iter().filter(|byte| **byte == b'\n').count());
    }
}
