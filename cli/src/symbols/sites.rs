//! Puts resolved frames into a report's sites. Only those that are shown are looked up: opening a debug file takes time.
//! Never touches what a site holds or what was judged of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use leakline_core::{Site, SiteId, Subject};

use super::Resolver;
use crate::report::Report;

/// Resolves the sites of `report` that are shown when each list has `top`, with symbols in `folders` and on this machine.
pub(crate) fn resolve(report: &mut Report, top: usize, folders: &[PathBuf]) {
    let mut resolver = Resolver::new(folders);
    let mut done: HashMap<SiteId, Arc<Site>> = HashMap::new();
    let verdicts = report.verdicts.iter_mut().filter_map(|verdict| match &mut verdict.subject {
        Subject::Site(_, site) => Some(site),
        Subject::Layer(_) => None,
    });
    let grown = report.growths.iter_mut().flat_map(|growth| growth.growth.sites.iter_mut().take(top));
    for site in verdicts.chain(grown.map(|grown| &mut grown.site)) {
        let resolved = done.entry(site.id()).or_insert_with(|| resolved(&mut resolver, site));
        *site = Arc::clone(resolved);
    }
    report.without_symbols = resolver.without_symbols();
}

fn resolved(resolver: &mut Resolver, site: &Arc<Site>) -> Arc<Site> {
    if site.frames().iter().all(|frame| frame.native.is_none()) {
        return Arc::clone(site);
    }
    let frames: Vec<_> = site.frames().iter().flat_map(|frame| resolver.frames(frame).to_vec()).collect();
    Arc::new(site.shown_with(frames))
}
