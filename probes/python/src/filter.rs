//! Patterns of file names, in which `*` stands for any text.
//! Pure: no files are looked at, and nothing else has a meaning.

/// Whether `pattern` fits all of `name`.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    let mut rest = rest;
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expected: bool) {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }

    #[test]
    fn without_a_star_the_whole_name_must_be_the_same() {
        check("<unknown>", "<unknown>", true);
        check("<unknown>", "<unknown>.py", false);
        check("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>", false);
        check("", "", true);
        check("", "a", false);
    }

    #[test]
    fn a_star_stands_for_any_text() {
        check("*/tracemalloc.py", "/usr/lib/python3.11/tracemalloc.py", true);
        check("*/tracemalloc.py", "/app/mytracemalloc.py", false);
        check("*/leakline/*.py", "/x/leakline/a/b.py", true);
        check("*/leakline/*.py", "/x/leakline.py", false);
        check("*", "", true);
        check("a*a", "a", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c-b", false);
    }
}
