//! Reads the text that HotSpot's class histogram is.
//! Pure: text in, counts out; a text that is not whole is no histogram.

use super::{Counted, names};

/// Rows that are read at most: as many classes as a JVM has.
const MAX_ROWS: usize = 1 << 20;

/// The rows of `text`, such as `   1:         10219         542440  [B (java.base@17.0.9)`. The error is what the JVM said
/// instead.
pub(super) fn histogram(text: &str) -> Result<Vec<Counted>, String> {
    let mut rows = Vec::new();
    let mut sum = (0_u64, 0_u64);
    for line in text.lines() {
        if let Some(total) = line.strip_prefix("Total") {
            let mut numbers = total.split_ascii_whitespace().map(str::parse::<u64>);
            let said = (numbers.next().and_then(Result::ok), numbers.next().and_then(Result::ok));
            return if said == (Some(sum.0), Some(sum.1)) && !rows.is_empty() {
                Ok(rows)
            } else {
                Err(format!("its rows sum up to {sum:?}, and it says {}", total.trim()))
            };
        }
        if let Some(row) = row(line)
            && rows.len() < MAX_ROWS
        {
            sum = (sum.0.saturating_add(row.count), sum.1.saturating_add(row.bytes));
            rows.push(row);
        }
    }
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(first.trim().chars().take(200).collect())
}

fn row(line: &str) -> Option<Counted> {
    let (number, rest) = line.split_once(':')?;
    number.trim().parse::<u64>().ok()?;
    let (count, rest) = rest.trim_start().split_once(' ')?;
    let (bytes, name) = rest.trim_start().split_once(' ')?;
    let name = name.trim();
    // The module, with its version, in parentheses.
    let name = match name.rsplit_once(" (") {
        Some((name, module)) if module.ends_with(')') => name,
        _ => name,
    };
    Some(Counted { name: names::of_printed(name), count: count.parse().ok()?, bytes: bytes.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        " num     #instances         #bytes  class name (module)\n---------------------------\n";

    fn check(text: &str, expected: Result<&str, &str>) {
        let found = histogram(text).map(|rows| {
            let words = rows.iter().map(|row| format!("{} {} {}", row.count, row.bytes, row.name));
            words.collect::<Vec<_>>().join(", ")
        });
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn each_row_is_a_class() {
        let rows = "   1:      9831      427312  [B (java.base@25.0.3)\n   2:      4      96  Load\nTotal     9835    427408\n";
        check(&format!("{HEAD}{rows}"), Ok("9831 427312 byte[], 4 96 Load"));
    }

    #[test]
    fn a_text_that_is_cut_is_no_histogram() {
        check(
            &format!("{HEAD}   1:   2   48  A\n"),
            Err("num     #instances         #bytes  class name (module)"),
        );
        check(
            &format!("{HEAD}   1:   2   48  A\nTotal    3   72\n"),
            Err("its rows sum up to (2, 48), and it says 3   72"),
        );
        check("", Err("it said nothing"));
        check(
            "Heap inspection skipped: GC locker is held.\n",
            Err("Heap inspection skipped: GC locker is held."),
        );
    }
}
