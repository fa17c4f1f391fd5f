//! `co_linetable` of CPython 3.10: pairs of bytes, the length of a range of code in bytes and the step to its line from
//! the line before, signed; the lowest step means that the range has no line.

const NO_LINE: i8 = i8::MIN;

/// The line of the instruction at byte `instruction`; `None` where it has none or is past the end.
pub(super) fn line(table: &[u8], first_line: u32, instruction: u32) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0u64;
    for pair in table.chunks_exact(2) {
        let &[bytes, lines] = pair else { break };
        let step = lines as i8;
        if step != NO_LINE {
            line += i64::from(step);
        }
        end += u64::from(bytes);
        if end > u64::from(instruction) {
            return if step == NO_LINE { None } else { super::in_range(line) };
        }
    }
    None
}
