//! Tables by hand and at random; against CPython's own answers in `tests/line_tables.rs`.

use super::*;

fn code(format: LineFormat, lines: &[u8]) -> CodeInfo {
    CodeInfo { function: "f".into(), file: "f.py".into(), first_line: 10, lines: lines.into(), format }
}

/// The lines of the units of code at bytes 0, 2, 4 and so on.
fn check(format: LineFormat, table: &[u8], lines: &[u32]) {
    let code = code(format, table);
    let found: Vec<u32> = (0..lines.len() as u32).map(|unit| code.line(2 * unit)).collect();
    assert_eq!(found, lines, "{format:?} {table:?}");
}

#[test]
fn steps_go_forth_and_back() {
    check(LineFormat::Lnotab, &[2, 1, 2, 0xff], &[10, 11, 10, 10]);
    check(LineFormat::Lnotab, &[0, 1, 4, 3], &[11, 11, 14]);
    check(LineFormat::Lnotab, &[], &[10, 10]);
}

#[test]
fn ranges_may_have_no_line() {
    check(LineFormat::Ranges, &[2, 1, 2, 0x80, 2, 1], &[11, 0, 12, 0]);
    check(LineFormat::Ranges, &[0, 5, 4, 0xff], &[14, 14, 0]);
}

#[test]
fn entries_of_every_kind_tell_lines() {
    let one_line = [0x80 | 11 << 3, 0, 0];
    let no_columns = [0x80 | 13 << 3 | 1, 0b100_0011, 0b10];
    let none = [0x80 | 15 << 3];
    let short = [0x80 | 3 << 3, 0x11];
    let table = [&one_line[..], &no_columns, &none, &short].concat();
    // 3 and then 2 in the next six bits: 131, odd, so 65 lines back; the table is damaged below line 0.
    check(LineFormat::Locations, &one_line, &[11, 0]);
    check(LineFormat::Locations, &table, &[11, 0, 0, 0, 0, 0]);
    check(
        LineFormat::Locations,
        &[&none[..], &[0x80 | 14 << 3, 0x0a, 0, 0, 0], &short].concat(),
        &[0, 15, 15, 0],
    );
}

#[test]
fn a_line_number_and_a_place_before_the_code_need_no_table() {
    let code = code(LineFormat::Locations, &[]);
    assert_eq!((code.line(IS_LINE | 77), code.line(-2i32 as u32), code.line(0)), (77, 10, 0));
}

#[test]
fn texts_of_every_width() {
    assert_eq!(&*Text::One(b"caf\xe9").decode(), "café");
    assert_eq!(&*Text::Two(&[0x41, 0xd800, 0x20ac]).decode(), "A\u{fffd}€");
    assert_eq!(&*Text::Four(&[0x1f40d, u32::MAX]).decode(), "🐍\u{fffd}");
    assert_eq!(Text::Four(&vec![0x1f40d; 5000]).decode().chars().count(), MAX_CHARACTERS);
}

#[test]
fn no_bytes_make_it_panic() {
    // A generator good enough to reach every branch, and the same in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let table: Vec<u8> = (0..next() % 64).map(|_| next() as u8).collect();
        for format in [LineFormat::Lnotab, LineFormat::Ranges, LineFormat::Locations] {
            let mut code = code(format, &table);
            code.first_line = next() as u32;
            for instruction in [0, 2, 7, next() as u32, (next() % 200) as u32, u32::MAX] {
                code.line(instruction);
            }
        }
    }
}
