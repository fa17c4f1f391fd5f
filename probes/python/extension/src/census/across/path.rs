//! A way through Python's objects in words: `__main__.Listener.target > builtins.list > java.util.ArrayList`.
//! Never asks an object of the host's anything.

use pyo3::Python;

use super::super::count::type_name;
use super::super::layout::{self, Known, Object};
use super::super::place;
use super::bridges::is_wrappers;

/// Most steps that are told; of more, those in the middle are left out.
const MOST_STEPS: usize = 12;
/// Most bytes of a name.
const MOST_TEXT: usize = 80;

/// From the first of `nodes`, each of which names the one before it, to `last`.
pub(super) fn words(py: Python<'_>, nodes: &[(usize, usize)], last: usize, known: &Known) -> String {
    let mut way = vec![last];
    let mut at = last;
    while at > 0 && way.len() < nodes.len() {
        at = nodes.get(at).map_or(0, |(_, parent)| *parent);
        way.push(at);
    }
    way.reverse();
    let objects: Vec<Object<'_>> = way
        .iter()
        .filter_map(|index| nodes.get(*index))
        // SAFETY: all of them were met in this stretch, in which nothing is freed.
        .map(|(address, _)| unsafe { Object::at(py, *address) })
        .collect();
    let mut steps: Vec<String> = Vec::new();
    let mut owner = None;
    for (index, object) in objects.iter().enumerate() {
        let next = objects.get(index + 1);
        // The dict of an object's attributes is not told: its names are the object's.
        if next.is_some_and(|next| known.is_attributes_of(next.address(), *object)) {
            owner = Some(*object);
            continue;
        }
        let holder = owner.take();
        let mut step = short(name(holder.unwrap_or(*object), known));
        if let Some(next) = next {
            let name = match holder {
                Some(_) => key(*object, *next).map(|name| format!(".{name}")),
                None if object.kind().has(layout::TYPE_FLAG_DICT) => {
                    key(*object, *next).map(|name| format!("[{name}]"))
                }
                None => known.attribute(*object, next.address()).map(|name| format!(".{name}")),
            };
            step.push_str(&short(name.unwrap_or_default()));
        }
        steps.push(step);
    }
    if steps.len() > MOST_STEPS {
        let left_out = steps.len() - MOST_STEPS;
        let tail = steps.split_off(steps.len() - MOST_STEPS / 2);
        steps.truncate(MOST_STEPS / 2);
        steps.push(format!("… ({left_out} more)"));
        steps.extend(tail);
    }
    steps.join(" > ")
}

/// A wrapper's is that of Java's class, a function's its own, anything else's that of its type.
fn name(object: Object<'_>, known: &Known) -> String {
    let kind = object.kind();
    if kind.address() == known.function {
        return format!("{}()", place::function_name(&object.own(), known));
    }
    let of_java = kind.short_name();
    if is_wrappers(kind) && of_java.contains('.') { of_java } else { type_name(kind) }
}

fn key(dict: Object<'_>, child: Object<'_>) -> Option<String> {
    place::keys(dict, &[child.address()]).into_iter().next().map(|(_, name)| name)
}

fn short(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
