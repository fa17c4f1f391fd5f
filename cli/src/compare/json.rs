//! A comparison as one JSON object, as docs/compare-json.md describes it. Fields are only ever added.

use leakline_core::Rate;
use serde_json::{Value, json};

use super::model::{Change, Comparison};
use crate::report::{Report, site_object};

/// Told in the object; a change of meaning would raise it.
const FORMAT: u32 = 1;

/// The object, with at most `top` sites.
pub(super) fn show(before: &Report, after: &Report, compared: &Comparison, top: usize) -> Value {
    let layer = |layer: &super::model::LayerChange| {
        let mut object = change(&layer.change);
        object["layer"] = json!(layer.layer.name());
        object["leaked_before"] = json!(layer.leaked.0);
        object["leaks_after"] = json!(layer.leaked.1);
        object
    };
    let site = |site: &super::model::SiteChange| {
        let mut object = change(&site.change);
        object["layer"] = json!(site.layer.name());
        object["source"] = json!(site.source);
        object["site"] = site_object(&site.site, &after.roots);
        object
    };
    json!({
        "format": FORMAT,
        "before": session(before),
        "after": session(after),
        "worse": compared.status() == crate::gate::LEAKS,
        "layers": compared.layers.iter().map(layer).collect::<Vec<_>>(),
        "sites": compared.sites.iter().take(top).map(site).collect::<Vec<_>>(),
    })
}

fn session(report: &Report) -> Value {
    json!({
        "id": report.session.id.to_string(),
        "name": report.session.host.name,
        "snapshots": report.rows.len(),
        "span_seconds": report.span().as_secs_f64(),
    })
}

fn change(change: &Change) -> Value {
    let mut object = json!({ "word": change.word });
    for (name, rate) in
        [("before", change.before), ("after", change.after), ("difference", change.difference)]
    {
        object[name] = rate.map_or(Value::Null, rate_object);
    }
    object
}

fn rate_object(rate: Rate) -> Value {
    json!({
        "bytes_per_second": rate.bytes_per_second,
        "bytes_per_second_low": rate.low,
        "bytes_per_second_high": rate.high,
    })
}
