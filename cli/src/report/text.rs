//! A report as lines for a person: the answer first, then the numbers that it rests on.
//! Pure: gives a string with colours in it, which the writer takes off where nobody sees them.

use std::fmt::Write as _;
use std::time::Duration;

use leakline_core::{Layer, SURVIVAL_TICKS, Site, SiteGrowth, Subject, Verdict, text};

use super::model::{ProbeGrowth, Report};
use super::{Bounds, bridge, collections, numbers, path, types};
use crate::duration::words as time_words;
use crate::style::{CAUTION, FAINT, STRONG, paint};
use crate::when::{self, Detail};
use crate::words::{clean, painted, plural, short_id};

/// Two clocks that are read one after the other, or that a time server steers, differ by less than this.
const CLOCK_DRIFT_NANOS: u64 = 100_000_000;
/// Where the text of a verdict begins.
const INDENT: &str = "               ";

/// The whole report, with as much of each list as `bounds` allows.
pub(crate) fn show(report: &Report, bounds: Bounds) -> String {
    let parts = [
        header(report),
        verdicts(report, bounds),
        incomplete(report),
        numbers::ledger(report),
        numbers::layers(report),
        bridge::show(report),
        bridge::cycles(report, bounds.most()),
        collections::show(report),
        growths(report, bounds),
        types::show(report, bounds, |growth| from_to(report, growth)),
        marks(report),
        readings(report),
        own(report),
        without_symbols(report),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// How exactly this report's instants are told.
pub(crate) fn detail(report: &Report) -> Detail {
    report
        .rows
        .iter()
        .map(|row| Detail::for_step(row.interval))
        .max_by_key(|detail| *detail as u8)
        .unwrap_or(Detail::Minutes)
}

/// An instant of this report, with its day where there are several.
pub(crate) fn moment(report: &Report, unix_nanos: u64) -> String {
    let day = |row: Option<&super::model::Row>| row.map(|row| when::date(row.at.unix_nanos));
    match day(report.rows.first()) == day(report.rows.last()) {
        true => when::time(unix_nanos, detail(report)),
        false => when::date_time(unix_nanos, detail(report)),
    }
}

fn header(report: &Report) -> String {
    let host = &report.session.host;
    let mut out = paint(STRONG, clean(&host.name));
    let _ = write!(out, "  pid {}", host.pid);
    for word in [host.platform.clone(), runtimes(report)].iter().filter(|word| !word.is_empty()) {
        let _ = write!(out, "  {}", clean(word));
    }
    out.push('\n');
    if let Some(origin) = report.session.origin {
        let application = short_id(origin.application);
        let _ = writeln!(
            out,
            "started by pid {}, part of the application that began with session {application}",
            origin.parent
        );
    }
    out += &coverage(report);
    for line in &report.problems {
        let _ = writeln!(out, "{} {}", paint(CAUTION, "unreadable:"), clean(line));
    }
    if report.more_problems > 0 {
        let _ = writeln!(out, "{} and {} more places", paint(CAUTION, "unreadable:"), report.more_problems);
    }
    if report.damaged {
        out += "What was readable follows. Where the original is whole, copy it again.\n";
    } else if !report.problems.is_empty() {
        out +=
            "The program was killed while it wrote this, or is writing it: nothing before it is missing.\n";
    }
    out
}

/// What a user calls a runtime; the allocator and the kernel are for machines.
fn runtimes(report: &Report) -> String {
    let named = report.runtimes.iter().filter(|(layer, _)| matches!(layer, Layer::Python | Layer::Jvm));
    named.map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ")
}

fn coverage(report: &Report) -> String {
    let detail = detail(report);
    let mut words = Vec::new();
    let count = plural(report.rows.len() as u64, "snapshot", "snapshots");
    if let (Some(first), Some(last)) = (report.rows.first(), report.rows.last()) {
        let (from, to) = (first.at.unix_nanos, last.at.unix_nanos);
        let until = match when::date(from) == when::date(to) {
            _ if from == to => String::new(),
            true => format!(" to {}", when::time(to, detail)),
            false => format!(" to {}", when::date_time(to, detail)),
        };
        words.push(format!("{count} every {}", time_words(last.interval)));
        words.push(format!("{}{until} UTC", when::date_time(from, detail)));
    }
    words.push(match report.missed_ticks() {
        0 => "none missed".to_owned(),
        missed => paint(CAUTION, format!("{missed} missed")),
    });
    if let Some((median, most)) = report.skew() {
        words.push(format!("skew {} (most {})", millis(median), millis(most)));
    }
    let end = match (&report.cut, report.ended) {
        (Some(reason), _) => {
            paint(CAUTION, format!("the recording was cut: {}", clean(reason)))
                + "\nWhat the program did after that is not in it.\n"
        }
        (None, Some(_)) => String::new(),
        (None, None) => paint(FAINT, "no end was recorded: the program still runs, or was killed") + "\n",
    };
    format!("{}\n{end}", words.join(", "))
}

fn millis(nanos: u64) -> String {
    format!("{:.1} ms", nanos as f64 / 1e6)
}

fn verdicts(report: &Report, bounds: Bounds) -> String {
    let mut out = String::new();
    for verdict in &report.verdicts {
        let Subject::Layer(layer) = &verdict.subject else { continue };
        let _ = writeln!(out, "{}", painted(verdict, &report.roots));
        for found in report.explanations.iter().filter(|found| found.layer == *layer) {
            let _ = writeln!(out, "{INDENT}{}", clean(&found.words(&report.roots)));
        }
        out += &sites_of(report, *layer, bounds);
    }
    if out.is_empty() {
        out = format!("{}     no verdict yet: it takes some more readings\n", paint(CAUTION, "?"));
    }
    for remark in &report.remarks {
        let _ = writeln!(out, "{}", clean(remark));
    }
    out
}

/// What a reader must know before the figures; nothing where they are complete.
fn incomplete(report: &Report) -> String {
    report
        .incomplete
        .iter()
        .map(|line| format!("{} {}\n", paint(CAUTION, "incomplete:"), clean(line)))
        .collect()
}

/// The sites of `layer` that leak, each with its whole call path.
fn sites_of(report: &Report, layer: Layer, bounds: Bounds) -> String {
    let top = bounds.most();
    let leaking = report.verdicts.iter().filter_map(|verdict| match &verdict.subject {
        Subject::Site(of, site) if *of == layer && verdict.kind.leaks() => Some((verdict, site)),
        _ => None,
    });
    let mut out = String::new();
    for (verdict, site) in leaking.clone().take(top) {
        let _ = writeln!(out, "{INDENT}{}", site_words(report, verdict, site));
        out += &path::lines(site, &report.roots, bounds.frames, &format!("{INDENT}  "));
    }
    let rest = leaking.count().saturating_sub(top);
    if rest > 0 {
        let _ = writeln!(out, "{INDENT}and {rest} more (see them with --top {})", top + rest);
    }
    out
}

fn site_words(report: &Report, verdict: &Verdict, site: &Site) -> String {
    let mut words = Vec::new();
    if let Some(share) = verdict.share {
        words.push(format!("{:.0} % of it here", share * 100.0));
    }
    let grown = report
        .growths
        .iter()
        .flat_map(|growth| &growth.growth.sites)
        .find(|grown| grown.site.id() == site.id());
    if let Some(grown) = grown {
        words.push(format!(
            "{}{} in {:+} blocks",
            text::signed_bytes(grown.bytes as f64),
            text::plus_minus(grown.standard_error_bytes),
            grown.blocks
        ));
        words.extend(survived(grown));
    }
    if let Some(rate) = verdict.rate {
        words.push(format!("{}/min", text::signed_bytes(rate.bytes_per_second * 60.0)));
    }
    format!("{}:", words.join(", "))
}

/// What part of a site's live bytes is no passing thing; nothing where nobody counted or nothing lives.
fn survived(grown: &SiteGrowth) -> Option<String> {
    let survived = grown.survived.filter(|_| grown.live.bytes > 0)?;
    let percent = survived.bytes.min(grown.live.bytes) as f64 / grown.live.bytes as f64 * 100.0;
    Some(format!("{percent:.0} % survived {SURVIVAL_TICKS} readings or more"))
}

fn growths(report: &Report, bounds: Bounds) -> String {
    let shown = report.growths.iter().filter(|growth| !growth.source.is_types());
    let parts: Vec<String> = shown.map(|growth| growth_of(report, growth, bounds)).collect();
    parts.join("\n")
}

/// The two instants that a growth lies between.
fn from_to(report: &Report, growth: &ProbeGrowth) -> String {
    let instant = |number: u64| match report.rows.iter().find(|row| row.number == number) {
        Some(row) => format!("{} (snapshot {number})", moment(report, row.at.unix_nanos)),
        None => format!("snapshot {number}"),
    };
    format!("from {} to {}", instant(growth.from), instant(growth.to))
}

fn growth_of(report: &Report, growth: &ProbeGrowth, bounds: Bounds) -> String {
    let top = bounds.sites(report.leaks(growth.layer));
    let source = text::source(&growth.source);
    let name =
        format!("{} ({})", paint(STRONG, format!("Growth of {}", clean(&growth.probe))), clean(&source));
    if growth.from == growth.to {
        return format!("{name}: only one profile, at snapshot {}; growth needs two\n", growth.to);
    }
    let sites = &growth.growth.sites;
    let bytes: f64 = sites.iter().map(|site| site.bytes as f64).sum();
    let blocks: i64 = sites.iter().fold(0, |sum, site| sum.saturating_add(site.blocks));
    let grown = growth.growth.grown().count();
    let mut out = format!(
        "{name} {}: {} in {blocks:+} blocks; {} grew, {} shrank\n",
        from_to(report, growth),
        text::signed_bytes(bytes),
        plural(grown as u64, "site", "sites"),
        sites.iter().filter(|site| site.bytes < 0).count(),
    );
    for (index, site) in growth.growth.grown().take(top).enumerate() {
        let _ = writeln!(
            out,
            "  #{} {}{} in {:+} blocks, now {} in {}{}",
            index + 1,
            text::signed_bytes(site.bytes as f64),
            text::plus_minus(site.standard_error_bytes),
            site.blocks,
            text::bytes(site.live.bytes as f64),
            plural(site.live.blocks, "block", "blocks"),
            survived(site).map_or(String::new(), |words| format!(", {words}")),
        );
        out += &path::lines(&site.site, &report.roots, bounds.frames, "       ");
    }
    if grown > top {
        let rest: f64 = growth.growth.grown().skip(top).map(|site| site.bytes as f64).sum();
        let _ = writeln!(
            out,
            "  and {} more, {} together (--top {grown})",
            grown - top,
            text::signed_bytes(rest)
        );
    }
    out
}

fn marks(report: &Report) -> String {
    if report.marks.is_empty() {
        return String::new();
    }
    let mut groups: Vec<(&str, Vec<u64>)> = Vec::new();
    for mark in &report.marks {
        match groups.iter_mut().find(|(name, _)| *name == mark.name) {
            Some((_, times)) => times.push(mark.at.unix_nanos),
            None => groups.push((&mark.name, vec![mark.at.unix_nanos])),
        }
    }
    let mut out = paint(STRONG, "Marks") + "\n";
    for (name, times) in groups {
        let time = |at: Option<&u64>| at.map(|at| when::time(*at, Detail::Seconds)).unwrap_or_default();
        let words = match times.len() {
            1 => time(times.first()),
            count => format!("{count} times, {} to {}", time(times.first()), time(times.last())),
        };
        let _ = writeln!(out, "  {}  {words}", clean(name));
        for (_, layer, found) in report.per_mark.iter().filter(|(of, ..)| of == name) {
            let [bytes, low, high] = [found.bytes, found.low, found.high].map(text::signed_bytes);
            let _ = writeln!(out, "    {} {bytes} with each (95 %: {low} to {high})", layer.name());
        }
    }
    out
}

/// What went wrong on the way; nothing where all went well.
fn readings(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (probe, health) in &report.probes {
        if health.absent == report.rows.len() as u64 {
            lines.push(format!("{}: {}", clean(probe), clean(&health.last_words)));
            continue;
        }
        let mut words = Vec::new();
        let counts = [(health.late, "late"), (health.failed, "failed"), (health.absent, "not there")];
        for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
            words.push(format!(
                "{what} at {count} of {}",
                plural(report.rows.len() as u64, "snapshot", "snapshots")
            ));
        }
        if !health.last_words.is_empty() {
            words.push(format!("last: {}", clean(&health.last_words)));
        }
        if !words.is_empty() {
            lines.push(format!("{}: {}", clean(probe), words.join(", ")));
        }
        for (note, count) in &health.notes {
            let times = if *count > 1 { format!(" ({count} times)") } else { String::new() };
            lines.push(format!("{}: {}{times}", clean(probe), clean(note)));
        }
    }
    let jumps = report.rows.iter().map(|row| row.clock_jump_nanos.unsigned_abs());
    let set: Vec<u64> = jumps.filter(|nanos| *nanos >= CLOCK_DRIFT_NANOS).collect();
    if let Some(most) = set.iter().max() {
        let most = time_words(Duration::from_nanos(*most));
        lines.push(format!(
            "the wall clock was set {}, by {most} at most",
            plural(set.len() as u64, "time", "times")
        ));
    }
    if report.lost.snapshots > 0 {
        let count = plural(report.lost.snapshots, "snapshot", "snapshots");
        lines.push(format!("lost: {count}, {} (a queue was full)", text::bytes(report.lost.bytes as f64)));
    }
    if report.missing_entries > 0 {
        lines.push(format!(
            "missing: {} (dropped, or in an older file)",
            plural(report.missing_entries, "entry", "entries")
        ));
    }
    for sink in &report.own.sinks {
        if sink.lost.snapshots > 0 {
            let count = plural(sink.lost.snapshots, "snapshot", "snapshots");
            lines.push(format!("sink {}: lost {count}", clean(&sink.sink)));
        }
        if !sink.last_error.is_empty() {
            lines.push(format!("sink {}: {}", clean(&sink.sink), clean(&sink.last_error)));
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    let body: String = lines.iter().map(|line| format!("  {line}\n")).collect();
    format!("{}\n{body}", paint(STRONG, "Readings"))
}

fn own(report: &Report) -> String {
    let own = &report.own;
    let wall = own.wall.as_secs_f64();
    let share = if wall > 0.0 { own.cpu.as_secs_f64() / wall * 100.0 } else { 0.0 };
    let held = own.held_bytes.map(|bytes| format!(", {}", text::bytes(bytes as f64))).unwrap_or_default();
    format!(
        "{}: {share:.2} % of a core{held}, longest stall {}\n",
        paint(STRONG, "leakline itself"),
        millis(own.longest_stall.as_nanos().try_into().unwrap_or(u64::MAX)),
    )
}

/// Which objects to get symbols for, and how.
fn without_symbols(report: &Report) -> String {
    if report.without_symbols.is_empty() {
        return String::new();
    }
    let mut out = paint(STRONG, "Native code without sure symbols") + "\n";
    for object in &report.without_symbols {
        let id = match &*object.build_id {
            "" => "no build id".to_owned(),
            id => format!("build id {id}"),
        };
        let _ = writeln!(out, "  {} ({}): {}", clean(&object.path), clean(&id), clean(&object.why));
    }
    out += "  Install their debug packages (-dbg or -dbgsym), or name a folder with their files: --symbols DIR\n";
    out
}
