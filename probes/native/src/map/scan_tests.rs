use super::*;

fn segment(start: u64, end: u64, class: Class, pages: Pages, is_shared: bool) -> Segment {
    Segment { start, end, class, pages, files: Files::Plain, is_shared, count: 1 }
}

fn segments() -> Vec<Segment> {
    vec![
        segment(0, 100, Class::Malloc, Pages::Anonymous, false),
        segment(100, 200, Class::Libraries, Pages::Anonymous, false),
        segment(300, 400, Class::JavaHeap, Pages::Shared, true),
        segment(400, 500, Class::Other, Pages::Uncounted, false),
    ]
}

#[test]
fn pages_go_to_whom_they_lie_in() {
    let mut count = Count::new(segments(), true);
    for (start, end, kind) in [
        (50, 150, Kind::Anonymous),
        (160, 170, Kind::Backed),
        (180, 190, Kind::Swapped),
        (250, 350, Kind::Backed),
        (350, 450, Kind::Anonymous),
        (600, 700, Kind::Anonymous),
    ] {
        count.add(Alike { start, end, kind });
    }
    let of = |totals: [u64; Class::COUNT], class: Class| totals[class as usize];
    let totals = count.totals;
    assert_eq!((of(totals.anonymous, Class::Malloc), of(totals.anonymous, Class::Libraries)), (50, 50));
    assert_eq!((of(totals.shared, Class::JavaHeap), of(totals.swapped, Class::Libraries)), (50, 10));
    assert_eq!((totals.anonymous_sum(), totals.shared.iter().sum::<u64>()), (100, 50));
    assert_eq!(totals.files[Files::Plain as usize], 10);
}

#[test]
fn a_mappings_sums_are_spread_over_its_pieces() {
    let mut count = Count::new(segments(), false);
    count.spread(0, 200, Counted { resident: 100, anonymous: 60, swapped: 20 });
    count.spread(300, 400, Counted { resident: 40, anonymous: 0, swapped: 0 });
    let totals = count.totals;
    assert_eq!(totals.anonymous_sum(), 60);
    assert_eq!(totals.anonymous[Class::Malloc as usize], 30);
    assert_eq!(totals.shared[Class::JavaHeap as usize], 40);
    assert_eq!(totals.swapped.iter().sum::<u64>(), 20);
    assert_eq!(totals.files[Files::Plain as usize], 40);
}
