//! Paths merged by shape: the same fields of the same classes, whichever objects they lead through.
//! Bounded: what goes round in circles, and what is longer than anybody reads, ends where it began to.

use rustc_hash::FxHashMap;

use crate::record::RootKind;

/// Distinct shapes that are kept.
const MAX_SHAPES: usize = 1 << 18;
/// Distinct pairs of shape and step that are remembered.
const MAX_STEPS: usize = 1 << 20;
/// Longest path.
const MAX_DEPTH: u16 = 64;
/// Most steps that are told to be gone through again and again.
const MAX_PERIOD: usize = 6;

/// From one holder to what it holds. Classes and names are identifiers in the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Root {
        kind: RootKind,
        thread: u32,
        frame: u32,
    },
    Thread {
        object: u64,
    },
    Static {
        class: u64,
        field: u64,
    },
    Field {
        class: u64,
        field: u64,
    },
    Element {
        class: u64,
    },
    /// From an instance to its class.
    Class {
        class: u64,
    },
    /// From a class to the loader that defined it.
    Loader {
        class: u64,
    },
    Superclass {
        class: u64,
    },
    Finalizer {
        class: u64,
    },
    Soft {
        class: u64,
    },
}

/// A path's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Shape(u32);

#[derive(Debug)]
struct Node {
    parent: Option<Shape>,
    step: Step,
    depth: u16,
    /// Some objects are reached by going on from here and coming back.
    repeats: bool,
}

/// All shapes that were met.
#[derive(Debug, Default)]
pub(crate) struct Shapes {
    nodes: Vec<Node>,
    known: FxHashMap<(Option<Shape>, Step), Shape>,
}

impl Shapes {
    /// `parent` and one more step.
    #[inline]
    pub(crate) fn extend(&mut self, parent: Option<Shape>, step: Step) -> Shape {
        if let Some(known) = self.known.get(&(parent, step)) {
            return *known;
        }
        let shape = self.new_shape(parent, step);
        if self.known.len() < MAX_STEPS {
            self.known.insert((parent, step), shape);
        }
        shape
    }

    fn new_shape(&mut self, parent: Option<Shape>, step: Step) -> Shape {
        let depth = parent.map_or(0, |parent| self.node(parent).depth + 1);
        let full = self.nodes.len() >= MAX_SHAPES || depth >= MAX_DEPTH;
        if let Some(back) = self.begin_of_circle(parent, step).or(parent.filter(|_| full)) {
            self.nodes[back.0 as usize].repeats = true;
            return back;
        }
        self.nodes.push(Node { parent, step, depth, repeats: false });
        Shape(self.nodes.len() as u32 - 1)
    }

    /// Where the path was before its last steps, if those before them were the same ones.
    fn begin_of_circle(&self, parent: Option<Shape>, step: Step) -> Option<Shape> {
        let mut last = [(parent, step); 2 * MAX_PERIOD];
        let mut length = 1;
        let mut before = parent;
        while let Some(shape) = before.filter(|_| length < last.len()) {
            last[length] = (Some(shape), self.node(shape).step);
            before = self.node(shape).parent;
            length += 1;
        }
        (1..=length / 2)
            .find(|period| (0..*period).all(|place| last[place].1 == last[place + period].1))
            .and_then(|period| last[period].0)
    }

    fn node(&self, shape: Shape) -> &Node {
        &self.nodes[shape.0 as usize]
    }

    /// The steps from the root on, each with whether it repeats.
    pub(crate) fn steps(&self, shape: Shape) -> Vec<(Step, bool)> {
        let mut steps: Vec<_> = std::iter::successors(Some(shape), |shape| self.node(*shape).parent)
            .map(|shape| (self.node(shape).step, self.node(shape).repeats))
            .collect();
        steps.reverse();
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes of the steps one by one, and what remains of them; `+` is what repeats.
    #[track_caller]
    fn check(classes: &[u64], expected: &str) {
        let mut shapes = Shapes::default();
        let path = classes
            .iter()
            .fold(None, |path, class| Some(shapes.extend(path, Step::Element { class: *class })));
        let text: Vec<String> = shapes
            .steps(path.expect("there are steps"))
            .into_iter()
            .map(|(step, repeats)| match step {
                Step::Element { class } => format!("{class}{}", if repeats { "+" } else { "" }),
                _ => unreachable!("only elements"),
            })
            .collect();
        assert_eq!(text.join(" "), expected);
    }

    #[test]
    fn what_goes_round_ends_where_it_began() {
        check(&[1, 2, 3], "1 2 3");
        check(&[1, 2, 2, 2, 2], "1 2+");
        check(&[1, 2, 3, 2, 3, 2, 3], "1 2 3+");
        check(&[1, 2, 3, 2, 3, 4], "1 2 3+ 4");
        check(&[1, 1, 1], "1+");
    }

    #[test]
    fn what_only_looks_alike_stays() {
        // A list of things that have a list each: the thing's field is what one wants to know.
        check(&[1, 2, 3, 4, 2, 3], "1 2 3 4 2 3");
        check(&[1, 2, 3, 2], "1 2 3 2");
    }

    #[test]
    fn a_long_path_ends_at_the_last_step_that_has_room() {
        let steps: Vec<u64> = (0..100).collect();
        let expected: Vec<String> = (0..64).map(|step| step.to_string()).collect();
        check(&steps, &(expected.join(" ") + "+"));
    }
}
