//! A report as one JSON object, as docs/report-json.md describes it. Fields are only ever added.
//! Every number has its unit in its name; what is not known is null.

use std::collections::BTreeMap;

use leakline_core::{
    ExplainedBy, Explanation, Frame, Ledger, PartSource, PartVerdict, Site, SiteHolder, Subject, Verdict,
    verdict_line,
};
use serde_json::{Value, json};

use super::model::{ProbeGrowth, Report, Row};
use crate::when;

/// Told in the object; a change of meaning would raise it.
const FORMAT: u32 = 2;

/// The object, with at most `top` sites of each list.
pub(crate) fn show(report: &Report, top: usize) -> Value {
    let host = &report.session.host;
    let skew = report.skew();
    json!({
        "format": FORMAT,
        "session": {
            "id": report.session.id.to_string(),
            "started": instant(report.session.started.unix_nanos),
            "ended": report.ended.map(|at| instant(at.unix_nanos)),
            "cut": report.cut,
            "agent_version": report.session.agent_version,
            "application": report.session.origin.map(|origin| origin.application.to_string()),
            "parent_pid": report.session.origin.map(|origin| origin.parent),
            "host": {
                "name": host.name,
                "pid": host.pid,
                "platform": host.platform,
                "limit_bytes": host.limit.as_ref().map(|(bytes, _)| *bytes),
                "limit_source": host.limit.as_ref().map(|(_, source)| source),
            },
            "runtimes": report.runtimes.iter().map(|(layer, name)| json!({ "layer": layer.name(), "name": name })).collect::<Vec<_>>(),
        },
        "coverage": {
            "snapshots": report.rows.len(),
            "span_seconds": report.span().as_secs_f64(),
            "missed_ticks": report.missed_ticks(),
            "skew_median_seconds": skew.map(|(median, _)| seconds(median)),
            "skew_most_seconds": skew.map(|(_, most)| seconds(most)),
            "lost_snapshots": report.lost.snapshots,
            "lost_bytes": report.lost.bytes,
            "missing_entries": report.missing_entries,
            "problems": report.problems,
            "more_problems": report.more_problems,
        },
        "verdicts": report.verdicts.iter().map(|verdict| verdict_object(verdict, report)).collect::<Vec<_>>(),
        "resident": part_object(&report.resident),
        "parts": report.parts.iter().map(part_object).collect::<Vec<_>>(),
        "explanations": report.explanations.iter().map(|found| explanation_object(found, report)).collect::<Vec<_>>(),
        "growing_resources": report.growing,
        "fragmentation": report.fragmentation,
        "snapshots": report.rows.iter().map(row_object).collect::<Vec<_>>(),
        "growth": report.growths.iter().filter(|growth| !growth.source.is_types()).map(|growth| growth_object(growth, report, top)).collect::<Vec<_>>(),
        "types": super::types::objects(report, top),
        "cycles": super::bridge::cycle_objects(report),
        "java_got_python": super::bridge::created_objects(report),
        "marks": report.marks.iter().map(|mark| json!({
            "name": mark.name,
            "at": instant(mark.at.unix_nanos),
        })).collect::<Vec<_>>(),
        "growth_per_mark": report.per_mark.iter().map(|(name, layer, found)| json!({
            "name": name,
            "layer": layer.name(),
            "count": found.count,
            "bytes": found.bytes,
            "bytes_low": found.low,
            "bytes_high": found.high,
        })).collect::<Vec<_>>(),
        "incomplete": report.incomplete,
        "probes": report.probes.iter().map(|(probe, health)| json!({
            "probe": probe,
            "ok": health.ok,
            "late": health.late,
            "failed": health.failed,
            "absent": health.absent,
            "last_words": health.last_words,
            "notes": health.notes.iter().map(|(note, count)| json!({ "note": note, "count": count })).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "own": own_object(report),
        "without_symbols": report.without_symbols.iter().map(|object| json!({
            "path": object.path,
            "build_id": object.build_id,
            "why": object.why,
        })).collect::<Vec<_>>(),
    })
}

fn instant(unix_nanos: u64) -> Value {
    json!({ "unix_seconds": seconds(unix_nanos), "utc": when::rfc3339(unix_nanos) })
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn verdict_object(verdict: &Verdict, report: &Report) -> Value {
    let (layer, site) = match &verdict.subject {
        Subject::Layer(layer) => (layer, None),
        Subject::Site(layer, site) => (layer, Some(site)),
    };
    json!({
        "layer": layer.name(),
        "site": site.map(|site| site_object(site, &report.roots)),
        "kind": verdict.kind,
        "leaks": verdict.kind.leaks(),
        "words": verdict_line(verdict, &report.roots).trim(),
        "gauge": (!verdict.gauge.is_empty()).then_some(&verdict.gauge),
        "bytes_per_second": verdict.rate.map(|rate| rate.bytes_per_second),
        "bytes_per_second_low": verdict.rate.map(|rate| rate.low),
        "bytes_per_second_high": verdict.rate.map(|rate| rate.high),
        "points": verdict.points,
        "share_of_layer": verdict.share,
        "seconds_to_limit": verdict.seconds_to_limit.map(|(seconds, _, _)| seconds),
        "seconds_to_limit_low": verdict.seconds_to_limit.map(|(_, low, _)| low),
        "seconds_to_limit_high": verdict.seconds_to_limit.map(|(_, _, high)| high),
        "chance": verdict.evidence.chance,
        "lasting_seconds": verdict.evidence.lasting_seconds,
        "explained": verdict.evidence.explained,
        "uncollected": verdict.evidence.uncollected,
    })
}

fn part_object(verdict: &PartVerdict) -> Value {
    json!({
        "part": verdict.part,
        "kind": verdict.kind,
        "bytes_per_second": verdict.rate.map(|rate| rate.bytes_per_second),
        "bytes_per_second_low": verdict.rate.map(|rate| rate.low),
        "bytes_per_second_high": verdict.rate.map(|rate| rate.high),
        "points": verdict.points,
        "chance": verdict.evidence.chance,
        "lasting_seconds": verdict.evidence.lasting_seconds,
    })
}

fn explanation_object(found: &Explanation, report: &Report) -> Value {
    let (by, part, other, at) = match &found.by {
        ExplainedBy::Part(part) => ("part", Some(part), None, None),
        ExplainedBy::Callers { layer, at } => ("callers", None, Some(layer), Some(at)),
        ExplainedBy::Held { by, at } => ("held", None, Some(by), Some(at)),
    };
    json!({
        "layer": found.layer.name(),
        "by": by,
        "part": part,
        "other_layer": other.map(|layer| layer.name()),
        "at": at.map(|frame| frame_object(frame, &report.roots)),
        "share": found.share.share,
        "share_low": found.share.low,
        "share_high": found.share.high,
        "words": found.words(&report.roots),
    })
}

fn frame_object(frame: &Frame, roots: &[String]) -> Value {
    json!({
        "function": frame.function,
        "file": frame.file,
        "short_file": leakline_core::text::short_path(&frame.file, roots),
        "line": frame.line,
        "native": frame.native.as_ref().map(|place| json!({
            "build_id": place.build_id,
            "address": place.address,
        })),
    })
}

/// A site as docs/report-json.md describes it.
pub(crate) fn site_object(site: &Site, roots: &[String]) -> Value {
    let id = format!("{:?}", site.id());
    match site.holder() {
        SiteHolder::Class(name) => json!({ "id": id, "class": name }),
        SiteHolder::CallPath { frames, truncated } => json!({
            "id": id,
            "frames": frames.iter().map(|frame| frame_object(frame, roots)).collect::<Vec<_>>(),
            "truncated": truncated,
        }),
    }
}

fn row_object(row: &Row) -> Value {
    json!({
        "number": row.number,
        "at": instant(row.at.unix_nanos),
        "boot_seconds": row.seconds(),
        "cause": row.cause,
        "interval_seconds": row.interval.as_secs_f64(),
        "missed_ticks": row.missed_ticks,
        "clock_jump_seconds": row.clock_jump_nanos as f64 / 1e9,
        "skew_seconds": row.skew_nanos.map(seconds),
        "ledger": row.ledger.as_ref().map(ledger_object),
        "costs": row.costs.iter().map(|(probe, cost)| json!({
            "probe": probe,
            "cpu_seconds": cost.cpu.as_secs_f64(),
            "wall_seconds": cost.wall.as_secs_f64(),
            "longest_stall_seconds": cost.longest_stall.as_secs_f64(),
        })).collect::<Vec<_>>(),
        "gauges": row.gauges.iter().map(|(name, value)| (&**name, *value)).collect::<BTreeMap<_, _>>(),
    })
}

fn ledger_object(ledger: &Ledger) -> Value {
    json!({
        "resident_bytes": ledger.resident,
        "parts": ledger.parts.iter().map(|part| json!({
            "name": part.name,
            "bytes": part.bytes,
            "source": match part.source {
                PartSource::Measured => "measured",
                PartSource::Derived => "derived",
            },
        })).collect::<Vec<_>>(),
    })
}

fn growth_object(growth: &ProbeGrowth, report: &Report, top: usize) -> Value {
    let sites = &growth.growth.sites;
    json!({
        "probe": growth.probe,
        "layer": growth.layer.name(),
        "source": growth.source.name,
        "mean_sample_bytes": growth.source.mean_sample_bytes,
        "from_snapshot": growth.from,
        "to_snapshot": growth.to,
        "bytes": sites.iter().map(|site| i128::from(site.bytes)).sum::<i128>() as f64,
        "blocks": sites.iter().map(|site| i128::from(site.blocks)).sum::<i128>() as f64,
        "sites_grown": growth.growth.grown().count(),
        "sites_shrunk": sites.iter().filter(|site| site.bytes < 0).count(),
        "sites": growth.growth.grown().take(top).map(|site| json!({
            "site": site_object(&site.site, &report.roots),
            "grown_bytes": site.bytes,
            "grown_blocks": site.blocks,
            "grown_standard_error_bytes": site.standard_error_bytes,
            "live_bytes": site.live.bytes,
            "live_blocks": site.live.blocks,
            "survived_bytes": site.survived.map(|survived| survived.bytes),
            "survived_blocks": site.survived.map(|survived| survived.blocks),
            "grown_survived_bytes": site.survived_bytes,
        })).collect::<Vec<_>>(),
    })
}

fn own_object(report: &Report) -> Value {
    let own = &report.own;
    json!({
        "cpu_seconds": own.cpu.as_secs_f64(),
        "wall_seconds": own.wall.as_secs_f64(),
        "held_bytes": own.held_bytes,
        "longest_stall_seconds": own.longest_stall.as_secs_f64(),
        "sinks": own.sinks.iter().map(|sink| json!({
            "sink": sink.sink,
            "delivered_snapshots": sink.delivered_snapshots,
            "delivered_bytes": sink.delivered_bytes,
            "held_bytes": sink.held_bytes,
            "lost_snapshots": sink.lost.snapshots,
            "lost_bytes": sink.lost.bytes,
            "last_error": (!sink.last_error.is_empty()).then_some(&sink.last_error),
        })).collect::<Vec<_>>(),
    })
}
