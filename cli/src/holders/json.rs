//! Who holds what, as one JSON object.
//! Pure; fields are only ever added.

use leakline_hprof::{Held, HeldBy};
use serde_json::{Value, json};

use super::About;
use super::text::others;

/// All classes, at most `top` paths of each; the counts of the others are there, too.
pub(super) fn object(about: &About, held: &[Held], top: usize) -> String {
    let classes: Vec<Value> = held.iter().map(|held| of_class(held, top)).collect();
    let object = json!({
        "format": 1,
        "objects": about.objects,
        "soft_references_followed": about.soft,
        "classes": classes,
    });
    format!("{object:#}\n")
}

fn of_class(held: &Held, top: usize) -> Value {
    let (other_paths, instances_by_other_paths) = others(held, top);
    json!({
        "class": held.class.name,
        "instances": held.class.instances,
        "shallow_bytes": held.class.shallow_bytes,
        "paths": held.paths.iter().take(top).map(of_path).collect::<Vec<_>>(),
        "other_paths": other_paths,
        "instances_by_other_paths": instances_by_other_paths,
        "unheld_instances": held.unheld,
    })
}

fn of_path(held: &HeldBy) -> Value {
    json!({
        "root": held.path.root,
        "name": held.path.name,
        "steps": held.path.steps,
        "instances": held.instances,
        "shallow_bytes": held.shallow_bytes,
    })
}
