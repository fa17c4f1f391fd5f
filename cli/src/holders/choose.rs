//! Which classes are asked about: those that were named, those that grew, or those that take most.
//! Never guesses between two classes.

use std::path::Path;

use anyhow::{Result, bail};
use leakline_core::SiteHolder;
use leakline_hprof::ClassUse;

use crate::report;

/// Classes to look for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chosen {
    /// As the dump names them.
    pub(super) names: Vec<String>,
    /// Not in the dump.
    pub(super) missing: Vec<String>,
}

/// The classes of a recording that grew, the one that grew most first.
pub(super) fn grown(folder: &Path, recording: &Path) -> Result<Vec<String>> {
    let path = report::find(folder, recording)?;
    let report = report::read(&path, report::Range::default())?;
    let mut sites: Vec<_> = report
        .growths
        .iter()
        .filter(|growth| growth.source.is_types() && growth.layer == leakline_core::Layer::Jvm)
        .flat_map(|growth| &growth.growth.sites)
        .filter(|site| site.bytes > 0)
        .collect();
    sites.sort_by_key(|site| std::cmp::Reverse(site.bytes));
    let names: Vec<String> = sites
        .into_iter()
        .filter_map(|site| match site.site.holder() {
            SiteHolder::Class(name) => Some(name.to_string()),
            SiteHolder::CallPath { .. } => None,
        })
        .collect();
    if names.is_empty() {
        bail!(
            "no class of the JVM grew in this recording: {}\n  \
             Name classes with --class, or leave --recording out for those that take most.",
            path.display()
        );
    }
    Ok(names)
}

/// `known` is what the dump has, the class with most bytes first.
pub(super) fn classes(
    known: &[ClassUse],
    named: &[String],
    grown: Option<&[String]>,
    top: usize,
) -> Result<Chosen> {
    let mut chosen = Chosen::default();
    if let Some(grown) = grown {
        for name in grown.iter().take(top) {
            let is_known = known.iter().any(|class| class.name == *name);
            if is_known { &mut chosen.names } else { &mut chosen.missing }.push(name.clone());
        }
    } else if named.is_empty() {
        chosen.names = known.iter().take(top).map(|class| class.name.clone()).collect();
    }
    for name in named {
        let name = name.replace('/', ".");
        if known.iter().any(|class| class.name == name) {
            chosen.names.push(name);
            continue;
        }
        let alike: Vec<&str> =
            known.iter().map(|class| &*class.name).filter(|known| simple(known) == name).collect();
        match alike.as_slice() {
            [one] => chosen.names.push((*one).to_owned()),
            [] => chosen.missing.push(name),
            several => bail!("{name} is the name of {} classes: {}", several.len(), several.join(", ")),
        }
    }
    chosen.names.dedup();
    if chosen.names.is_empty() && !chosen.missing.is_empty() {
        bail!("the dump has no instance of {}", crate::words::clean(&chosen.missing.join(", ")));
    }
    Ok(chosen)
}

/// Without the package, and without the class around it.
fn simple(name: &str) -> &str {
    name.rsplit(['.', '$']).next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["byte[]", "relay.Session", "a.Node", "b.Tree$Node", "relay.Session[]"];

    #[track_caller]
    fn check(named: &[&str], grown: Option<&[&str]>, expected: Result<(&[&str], &[&str]), &str>) {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let known: Vec<ClassUse> = KNOWN
            .iter()
            .map(|name| ClassUse { name: (*name).to_owned(), instances: 1, shallow_bytes: 16 })
            .collect();
        let grown = grown.map(owned);
        let chosen = classes(&known, &owned(named), grown.as_deref(), 2).map_err(|error| error.to_string());
        let expected = expected
            .map(|(names, missing)| Chosen { names: owned(names), missing: owned(missing) })
            .map_err(str::to_owned);
        assert_eq!(chosen, expected);
    }

    #[test]
    fn classes_are_those_named_those_grown_or_the_largest() {
        check(&[], None, Ok((&["byte[]", "relay.Session"], &[])));
        check(&[], Some(&["a.Node", "gone.Class", "byte[]"]), Ok((&["a.Node"], &["gone.Class"])));
        check(&["relay/Session", "Session[]"], None, Ok((&["relay.Session", "relay.Session[]"], &[])));
        check(&["Session", "Other"], None, Ok((&["relay.Session"], &["Other"])));
        check(&["Node"], None, Err("Node is the name of 2 classes: a.Node, b.Tree$Node"));
        check(&["Other"], None, Err("the dump has no instance of Other"));
    }
}
