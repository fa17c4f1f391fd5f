//! A site's call path for a person: a line for each frame, the innermost first, shortened in its middle.
//! Pure. Never shortens what machines read: the JSON object has every frame.

use std::fmt::Write as _;
use std::sync::Arc;

use leakline_core::{Frame, Site, SiteHolder, text};

use crate::style::{FAINT, paint};
use crate::words::clean;

/// The frames of a module's import are these, several for each module.
const IMPORT: &str = "<frozen importlib._bootstrap";
/// Of a path that is too long, so many frames of its outer end are shown: where the program's own code calls.
const OUTER: usize = 2;

/// Lines for `site`, each behind `indent`; of its frames as many as `most`, and how many were left out.
pub(super) fn lines(site: &Site, roots: &[String], most: usize, indent: &str) -> String {
    let SiteHolder::CallPath { frames, truncated } = site.holder() else {
        return format!("{indent}{}\n", clean(&text::site(site, roots, 1)));
    };
    let steps = steps(frames);
    let mut out = String::new();
    let outer = if steps.len() > most { OUTER.min(most.saturating_sub(1)) } else { 0 };
    let inner = if steps.len() > most { most - outer } else { steps.len() };
    for (index, step) in steps.iter().enumerate() {
        if index == inner && outer < steps.len() - inner {
            let hidden: usize = steps[inner..steps.len() - outer].iter().map(|step| step.frames.len()).sum();
            let _ = writeln!(out, "{indent}{}", paint(FAINT, format!("< … {hidden} more (--frames)")));
        }
        if index >= inner && index < steps.len() - outer {
            continue;
        }
        let arrow = if index == 0 { "" } else { "< " };
        let _ = writeln!(out, "{indent}{arrow}{}", step.words(roots));
    }
    if *truncated {
        let _ =
            writeln!(out, "{indent}{}", paint(FAINT, "< … cut off here; more frames with `run --frames`"));
    }
    out
}

/// What is one line.
struct Step<'a> {
    frames: &'a [Arc<Frame>],
}

impl Step<'_> {
    fn words(&self, roots: &[String]) -> String {
        match self.frames {
            [frame] => clean(&text::frame(frame, roots)),
            frames => paint(FAINT, format!("… {} frames of import", frames.len())),
        }
    }
}

/// Each frame by itself, and the frames of one import together.
fn steps(frames: &[Arc<Frame>]) -> Vec<Step<'_>> {
    let both_import =
        |one: &Arc<Frame>, next: &Arc<Frame>| one.file.starts_with(IMPORT) && next.file.starts_with(IMPORT);
    frames.chunk_by(both_import).map(|frames| Step { frames }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, most: usize, expected: &str) {
        let frames = path.split(' ').map(|word| {
            let file = if word == "import" { "<frozen importlib._bootstrap>" } else { word };
            Arc::new(Frame::new("", file, 1))
        });
        let site = Site::call_path(frames.collect::<Vec<_>>(), false);
        let shown = lines(&site, &[], most, "");
        let shown = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_short_path_is_shown_whole() {
        check("a b c", 3, "a:1 < b:1 < c:1");
    }

    #[test]
    fn a_long_path_keeps_both_of_its_ends() {
        check("a b c d e f g", 5, "a:1 < b:1 < c:1 < … 2 more (--frames) < f:1 < g:1");
    }

    #[test]
    fn of_a_very_short_view_the_inner_end_stays() {
        check("a b c", 1, "a:1 < … 2 more (--frames)");
        check("a b c", 2, "a:1 < … 1 more (--frames) < c:1");
    }

    #[test]
    fn an_import_is_one_line() {
        check(
            "a import import import b import c",
            9,
            "a:1 < … 3 frames of import < b:1 < <frozen importlib._bootstrap>:1 < c:1",
        );
    }

    #[test]
    fn what_is_left_out_is_counted_in_frames() {
        check("a import import b c d", 3, "a:1 < … 3 more (--frames) < c:1 < d:1");
    }
}
