use super::super::text;
use super::*;

fn mapping(text: &str) -> Mapping {
    Mapping::of(&text::line(text.as_bytes()).unwrap())
}

#[test]
fn what_lies_in_a_reservation_of_a_jvm_is_its_own_and_a_stack_above_its_guard_is_not() {
    let mut mappings = [
        "100000-200000 rwxp 00000000 00:00 0",
        "400000-500000 rw-p 00000000 00:00 0",
        "500000-900000 ---p 00000000 00:00 0",
        "a00000-a04000 ---p 00000000 00:00 0",
        "a04000-b00000 rw-p 00000000 00:00 0",
        "c00000-c10000 rw-p 00000000 00:00 0    [anon:named]",
        "c10000-d10000 ---p 00000000 00:00 0",
    ]
    .map(mapping);
    jvm_reservations(&mut mappings);
    let classes = mappings.map(|mapping| mapping.class);
    assert_eq!(
        classes,
        [
            Class::JavaCode,
            Class::JavaOther,
            Class::Unnamed,
            Class::Unnamed,
            Class::Unnamed,
            Class::Other,
            Class::Unnamed
        ]
    );
}

#[test]
fn who_claims_first_keeps_what_it_has() {
    let mut claims = Claims::default();
    claims.add(20, 30, Class::Malloc);
    claims.add(40, 50, Class::Stacks);
    claims.add(10, 60, Class::Other);
    claims.add(25, 45, Class::Python);
    let ranges: Vec<_> = claims.0.iter().map(|(start, (end, class))| (*start, *end, *class)).collect();
    assert_eq!(
        ranges,
        [
            (10, 20, Class::Other),
            (20, 30, Class::Malloc),
            (30, 40, Class::Other),
            (40, 50, Class::Stacks),
            (50, 60, Class::Other)
        ]
    );
    assert_eq!((claims.end_at(29), claims.end_at(60), claims.end_at(5)), (Some(30), None, None));
}

#[test]
fn mappings_are_cut_along_the_claims() {
    let mappings =
        ["1000-4000 rw-p 0 00:00 0", "4000-8000 r--p 0 00:00 0", "9000-a000 rw-p 0 00:00 0 [heap]"];
    let mut claims = Claims::default();
    claims.add(0x2000, 0x5000, Class::Malloc);
    claims.add(0x9000, 0xa000, Class::Python);
    let found: Vec<_> = segments(&mappings.map(mapping), &claims)
        .iter()
        .map(|segment| (segment.start >> 12, segment.end >> 12, segment.class))
        .collect();
    assert_eq!(
        found,
        [
            (1, 2, Class::Unnamed),
            (2, 4, Class::Malloc),
            (4, 5, Class::Malloc),
            (5, 8, Class::Unnamed),
            (9, 10, Class::Python)
        ]
    );
}

#[test]
fn neighbours_that_are_alike_are_one_up_to_a_number() {
    let mut first = mapping("1000-2000 rw-p 0 00:00 0");
    assert!(first.take_in(&mapping("2000-3000 r--p 0 00:00 0")));
    for next in [
        "3000-4000 ---p 0 00:00 0",
        "3000-4000 rwxp 0 00:00 0",
        "5000-6000 rw-p 0 00:00 0",
        "3000-4000 rw-p 0 00:00 0 [heap]",
    ] {
        assert!(!first.take_in(&mapping(next)), "{next}");
    }
    assert_eq!((first.end, first.count), (0x3000, 2));
    first.count = MOST_ALIKE;
    assert!(!first.take_in(&mapping("3000-4000 rw-p 0 00:00 0")));
}
