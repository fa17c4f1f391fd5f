//! Java's half of a cycle: from a Java object that Python refers to, to the object by which Java holds a Python object.
//! Breadth first, within bounds; nothing stands still.

use std::collections::HashMap;
use std::time::Instant;

use jni::sys;

use super::graph::{Graph, Step};
use crate::java::Frame;

/// Objects between two looks at the clock.
const STEPS: usize = 64;
/// Most steps that are told; of more, those in the middle are left out.
const MOST_STEPS: usize = 12;

/// What a search may cost.
pub(super) struct Bounds {
    pub(super) most_of_one: usize,
    /// All searches together.
    pub(super) left: u64,
    pub(super) until: Instant,
}

/// What came of a search.
pub(super) enum Outcome {
    /// The way, in words.
    Found(String),
    Nothing,
    /// A bound ended it.
    Cut,
}

struct Node {
    object: sys::jobject,
    class: usize,
    parent: usize,
    step: Step,
}

/// Searches from `from` until `is_wanted` says so of an object, whose class has the name it is told.
pub(super) fn search(
    frame: &Frame<'_>,
    graph: &mut Graph<'_>,
    from: sys::jobject,
    bounds: &mut Bounds,
    mut is_wanted: impl FnMut(sys::jobject, &str) -> bool,
) -> Outcome {
    let mut walk = Walk { frame, nodes: Vec::new(), seen: HashMap::new(), is_cut: false };
    // A reference of our own, as all others are.
    let from = frame.another(from);
    if from.is_null() || walk.add(graph, from, 0, Step::Element) {
        return Outcome::Nothing;
    }
    let mut at = 0;
    let mut found = None;
    while let Some(node) = walk.nodes.get(at) {
        let (object, class) = (node.object, node.class);
        if graph.class(class).is_some_and(|class| is_wanted(object, &class.name)) {
            found = Some(at);
            break;
        }
        if at.is_multiple_of(STEPS) && Instant::now() > bounds.until {
            walk.is_cut = true;
            break;
        }
        let mut references = Vec::new();
        let room = bounds.most_of_one.saturating_sub(walk.nodes.len());
        let whole = graph.references(object, class, |step, object| {
            references.push((step, object));
            references.len() <= room
        });
        let is_full = references.len() > room;
        for (step, object) in references {
            if walk.nodes.len() >= bounds.most_of_one || bounds.left == 0 {
                frame.delete(object);
                walk.is_cut = true;
            } else if !walk.add(graph, object, at, step) {
                bounds.left -= 1;
            }
        }
        walk.is_cut |= !whole || is_full;
        at += 1;
    }
    match found {
        Some(found) => Outcome::Found(walk.words(graph, found)),
        None if walk.is_cut => Outcome::Cut,
        None => Outcome::Nothing,
    }
}

struct Walk<'f, 'a> {
    frame: &'f Frame<'a>,
    nodes: Vec<Node>,
    seen: HashMap<i32, Vec<usize>>,
    is_cut: bool,
}

impl Drop for Walk<'_, '_> {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.frame.delete(node.object);
        }
    }
}

impl Walk<'_, '_> {
    /// Adds an object, whose reference is given up if it was met before: true.
    fn add(&mut self, graph: &mut Graph<'_>, object: sys::jobject, parent: usize, step: Step) -> bool {
        let hash = graph.hash(object);
        let met = self.seen.get(&hash).into_iter().flatten();
        let mut met = met.filter_map(|index| self.nodes.get(*index));
        if met.any(|node| self.frame.is_same(node.object, object)) {
            self.frame.delete(object);
            return true;
        }
        let Some(class) = graph.class_of(object) else {
            self.frame.delete(object);
            self.is_cut = true;
            return true;
        };
        self.seen.entry(hash).or_default().push(self.nodes.len());
        self.nodes.push(Node { object, class, parent, step });
        false
    }

    fn words(&self, graph: &Graph<'_>, last: usize) -> String {
        let name = |class| graph.class(class).map_or("?", |class| class.name.as_str());
        let mut steps = Vec::new();
        let (mut at, mut by) = (last, String::new());
        while let Some(node) = self.nodes.get(at) {
            steps.push(format!("{}{by}", name(node.class)));
            by = graph.words(node.step);
            if at == 0 {
                break;
            }
            at = node.parent;
        }
        steps.reverse();
        if steps.len() > MOST_STEPS {
            let left_out = steps.len() - MOST_STEPS;
            let tail = steps.split_off(steps.len() - MOST_STEPS / 2);
            steps.truncate(MOST_STEPS / 2);
            steps.push(format!("… ({left_out} more)"));
            steps.extend(tail);
        }
        steps.join(" > ")
    }
}
