//! Who holds what, as text.
//! Pure: gives a string with colours in it.

use std::fmt::Write as _;

use leakline_core::text;
use leakline_hprof::{Held, HeldBy, Path};

use crate::style::{FAINT, STRONG, paint};
use crate::words::{clean, plural};

/// All classes, at most `top` paths of each.
pub(super) fn show(held: &[Held], top: usize) -> String {
    held.iter().map(|held| of_class(held, top)).collect::<Vec<_>>().join("\n")
}

fn of_class(held: &Held, top: usize) -> String {
    let class = &held.class;
    let instances = if class.instances == 1 { "instance" } else { "instances" };
    let mut out = format!(
        "{}  {} {instances}, {}\n",
        paint(STRONG, clean(&class.name)),
        grouped(class.instances),
        text::bytes(class.shallow_bytes as f64)
    );
    let all = grouped(class.instances);
    for path in held.paths.iter().take(top) {
        let count = grouped(path.instances);
        let _ = writeln!(out, "  {count:>width$} of {all} held by  {}", words(path), width = all.len());
    }
    let (paths, instances) = others(held, top);
    if paths > 0 {
        let paths = plural(paths, "other path", "other paths");
        let line = format!("{:>width$} of {all} by {paths}", grouped(instances), width = all.len());
        let _ = writeln!(out, "  {}", paint(FAINT, line));
    }
    if held.unheld > 0 {
        let _ = writeln!(out, "  not reachable: garbage or only weakly held: {}", grouped(held.unheld));
    }
    out
}

/// Paths that are not shown, and the instances that they lead to.
pub(super) fn others(held: &Held, top: usize) -> (u64, u64) {
    let hidden = held.paths.get(top..).unwrap_or_default();
    let instances: u64 = hidden.iter().map(|path| path.instances).sum();
    (hidden.len() as u64 + held.other_paths, instances + held.by_other_paths)
}

fn words(held: &HeldBy) -> String {
    let Path { root, name, steps } = &held.path;
    let root = if name.is_empty() { (*root).to_owned() } else { format!("{root} {name}") };
    let parts: Vec<String> = std::iter::once(&root).chain(steps).map(|part| clean(part)).collect();
    parts.join("  ")
}

/// `1,999,800`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use leakline_hprof::ClassUse;

    fn by(root: &'static str, name: &str, steps: &[&str], instances: u64) -> HeldBy {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        HeldBy { path: Path { root, name: name.to_owned(), steps }, instances, shallow_bytes: 16 * instances }
    }

    #[test]
    fn paths_are_lines_with_their_share() {
        let class =
            ClassUse { name: "relay.Session".to_owned(), instances: 2_000_000, shallow_bytes: 32 << 20 };
        let paths = vec![
            by("static", "relay.Archive.KEPT", &["java.util.ArrayList.elementData", "Object[]"], 1_999_800),
            by("JNI global", "", &[], 150),
            by("thread local of", "thread \"w\u{1b}\"", &[], 20),
            by("monitor", "", &[], 10),
        ];
        let text = show(&[Held { class, paths, other_paths: 0, by_other_paths: 0, unheld: 20 }], 2);
        expect_test::expect![[r"
            relay.Session  2,000,000 instances, 32.0 MiB
              1,999,800 of 2,000,000 held by  static relay.Archive.KEPT  java.util.ArrayList.elementData  Object[]
                    150 of 2,000,000 held by  JNI global
                     30 of 2,000,000 by 2 other paths
              not reachable: garbage or only weakly held: 20
        "]]
        .assert_eq(&anstream::adapter::strip_str(&text).to_string());
    }
}
