//! `co_linetable` from CPython 3.11 on: an entry for each range of code, beginning with the only byte that has its
//! highest bit set: what kind of entry it is and how long the range is. Only the line is read; columns are passed over.

const BEGINS_ENTRY: u8 = 0x80;
const NO_LOCATION: u8 = 15;
const LONG: u8 = 14;
const NO_COLUMNS: u8 = 13;
/// The kinds that say 0, 1 or 2 lines on with columns of a byte each.
const ONE_LINE: std::ops::RangeInclusive<u8> = 10..=12;
/// Bytes in a unit of code.
const UNIT: u64 = 2;

/// The line of the instruction at byte `instruction`; `None` where it has none or is past the end.
pub(super) fn line(table: &[u8], first_line: u32, instruction: u32) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0u64;
    let mut rest = table;
    while let Some((&head, after)) = rest.split_first() {
        let (kind, units) = ((head >> 3) & 15, u64::from(head & 7) + 1);
        line = line.saturating_add(match kind {
            LONG | NO_COLUMNS => signed(after),
            kind if ONE_LINE.contains(&kind) => i64::from(kind - ONE_LINE.start()),
            _ => 0,
        });
        end += units * UNIT;
        if end > u64::from(instruction) {
            return if kind == NO_LOCATION { None } else { super::in_range(line) };
        }
        let next = after.iter().position(|byte| byte & BEGINS_ENTRY != 0).unwrap_or(after.len());
        rest = after.get(next..).unwrap_or_default();
    }
    None
}

/// A signed number of variable length: six bits to a byte, the lowest first, bit 6 where another byte follows; the
/// lowest bit of the whole is the sign.
fn signed(bytes: &[u8]) -> i64 {
    let mut value = 0u64;
    // More than six bytes would hold more than the 32 bits that CPython writes.
    for (index, byte) in bytes.iter().take(6).enumerate() {
        value |= u64::from(byte & 63) << (6 * index);
        if byte & 64 == 0 {
            break;
        }
    }
    let size = (value >> 1) as i64;
    if value & 1 == 0 { size } else { -size }
}
