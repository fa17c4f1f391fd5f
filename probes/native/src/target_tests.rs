use super::*;

#[test]
fn a_threads_name_may_hold_anything() {
    for (text, name, lives) in [
        ("12 (sleep) S 1 2", "sleep", true),
        ("12 (a) Z b) R 1", "a) Z b", true),
        ("12 (a)) Z 1", "a)", false),
        ("12 () X 1", "", false),
        ("12 (\n) D 1", "\n", true),
    ] {
        let stat = Stat::parse(text.as_bytes()).unwrap();
        assert_eq!((stat.name.as_slice(), stat.lives()), (name.as_bytes(), lives), "{text}");
    }
    for text in ["", "12", "12 (", ")(", "12 (a)", "12 (a) "] {
        assert_eq!(Stat::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn this_process_is_read_from_outside_as_from_inside() {
    let other = Other::open(std::process::id()).unwrap();
    assert_eq!((other.pid(), other.image()), (std::process::id(), Image::Same));
    assert!(!other.only_named_threads_left("leakline").unwrap());
    let known = [3_u64, 4];
    assert_eq!(other.memory().words::<2>(known.as_ptr() as u64), Some(known));
    assert!(matches!(Other::open(0).unwrap_err().to_string().as_str(), "the process has ended"));
}
