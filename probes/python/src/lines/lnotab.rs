//! `co_lnotab` of CPython 3.9: pairs of bytes, how many bytes of code to go on and how many lines, signed.
//! Never knows an instruction without a line: that came with 3.10.

/// The line of the instruction at byte `instruction`.
pub(super) fn line(table: &[u8], first_line: u32, instruction: u32) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut address = 0u64;
    for pair in table.chunks_exact(2) {
        let &[bytes, lines] = pair else { break };
        address += u64::from(bytes);
        if address > u64::from(instruction) {
            break;
        }
        line += i64::from(lines as i8);
    }
    super::in_range(line)
}
