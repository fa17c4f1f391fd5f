//! The part of a report about types: which kinds of objects grew, and who holds them.
//! Pure: gives a string with colours in it, or values for the JSON object.

use std::fmt::Write as _;

use leakline_core::{SiteGrowth, SiteHolder, text};
use serde_json::{Value, json};

use super::Bounds;
use super::model::{ProbeGrowth, Report};
use crate::style::{STRONG, paint};
use crate::words::clean;

/// Holders that are named of one type.
const HOLDERS: usize = 5;

/// The growing types of each probe that counts them, as many as `bounds` allows; nothing where none does.
pub(super) fn show(report: &Report, bounds: Bounds, span: impl Fn(&ProbeGrowth) -> String) -> String {
    let parts: Vec<String> = report
        .growths
        .iter()
        .filter(|growth| growth.source.is_types() && growth.from != growth.to)
        .map(|growth| of_probe(report, growth, bounds, &span(growth)))
        .collect();
    parts.join("\n")
}

fn of_probe(report: &Report, growth: &ProbeGrowth, bounds: Bounds, span: &str) -> String {
    let top = bounds.sites(report.leaks(growth.layer));
    let name = paint(STRONG, format!("Growth of {} by type", clean(&growth.probe)));
    let grown = grown(growth);
    let mut out = format!("{name} {span}\n");
    for site in grown.iter().take(top) {
        let name = type_name(site);
        let _ = writeln!(
            out,
            "  {:+} {} ({}), now {} in {}{}",
            site.blocks,
            clean(&name),
            text::signed_bytes(site.bytes as f64),
            site.live.blocks,
            text::bytes(site.live.bytes as f64),
            kept_words(site),
        );
        for (holder, count) in holders(report, growth, &name).take(HOLDERS) {
            let _ = writeln!(out, "       held by {} (+{count} since the census before)", clean(holder));
        }
    }
    if grown.is_empty() {
        out += "  none grew\n";
    } else if grown.len() > top {
        let _ = writeln!(out, "  and {} more (--top {})", grown.len() - top, grown.len());
    }
    out
}

/// One object per probe that counts types.
pub(super) fn objects(report: &Report, top: usize) -> Vec<Value> {
    let growths = report.growths.iter().filter(|growth| growth.source.is_types());
    growths
        .map(|growth| {
            let types = grown(growth).into_iter().take(top).map(|site| {
                let name = type_name(site);
                let holders = holders(report, growth, &name).take(HOLDERS);
                json!({
                    "type": name,
                    "grown_objects": site.blocks,
                    "grown_bytes": site.bytes,
                    "live_objects": site.live.blocks,
                    "live_bytes": site.live.bytes,
                    "kept_bytes": site.survived.map(|kept| kept.bytes),
                    "kept_objects": site.survived.map(|kept| kept.blocks),
                    "holders": holders
                        .map(|(holder, count)| json!({ "holder": holder, "count": count }))
                        .collect::<Vec<_>>(),
                })
            });
            json!({
                "probe": growth.probe,
                "layer": growth.layer.name(),
                "from_snapshot": growth.from,
                "to_snapshot": growth.to,
                "types": types.collect::<Vec<_>>(),
            })
        })
        .collect()
}

/// Types of which there are more now, the largest gain in bytes first, and before what may be garbage. A type that only got
/// larger is not among them.
fn grown(growth: &ProbeGrowth) -> Vec<&SiteGrowth> {
    let mut grown: Vec<_> = growth.growth.sites.iter().filter(|site| site.blocks > 0).collect();
    grown.sort_by_key(|site| std::cmp::Reverse(kept(site).unwrap_or(site.bytes)));
    grown
}

/// By how many bytes what was there through the last collections is more than all that there was at the beginning; `None`
/// where the source does not tell.
fn kept(site: &SiteGrowth) -> Option<i64> {
    let then = i128::from(site.live.bytes) - i128::from(site.bytes);
    let kept = i128::from(site.survived?.bytes) - then;
    Some(kept.clamp(0, i128::from(i64::MAX)) as i64)
}

fn kept_words(site: &SiteGrowth) -> String {
    match kept(site) {
        None => String::new(),
        Some(0) => "; may be garbage that is not collected yet".to_owned(),
        Some(kept) => format!("; {} of it kept through collections", text::signed_bytes(kept as f64)),
    }
}

fn type_name(site: &SiteGrowth) -> String {
    match site.site.holder() {
        SiteHolder::Class(name) => name.to_string(),
        SiteHolder::CallPath { .. } => text::site(&site.site, &[], 1),
    }
}

/// Who holds objects of `of`, who holds most first.
fn holders<'a>(report: &'a Report, growth: &ProbeGrowth, of: &str) -> impl Iterator<Item = (&'a str, u64)> {
    let of_probe = report.holders.get(&growth.probe).map_or(&[][..], Vec::as_slice);
    let mut found: Vec<(&str, u64)> = of_probe
        .iter()
        .filter(|held| &*held.of == of)
        .map(|held| (held.holder.as_str(), held.count))
        .collect();
    found.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    found.into_iter()
}
