//! Holds a report against the truth about a program. Pure: takes what `leakline report --json` wrote.
//! Reads both forms of `kind`: with `leaks` beside it, and without, where a leak is called `leaking`.

use serde_json::Value;

use super::truth::Truth;

/// What one report got right. `None`: does not apply, or the report does not say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Found {
    /// Nothing was called a leak that is none, in any layer; and what leaks was.
    pub(super) leak: bool,
    /// The leaking layer was called leaking.
    pub(super) layer: Option<bool>,
    /// Layers, and resources, that were called leaking and do not.
    pub(super) alarms: Vec<String>,
    /// The word for how it grows.
    pub(super) kind: Option<bool>,
    /// What it said in its place.
    pub(super) said: String,
    /// From 1, the place of the line to blame in the list of that layer's sites.
    pub(super) rank: Option<usize>,
    /// Estimated rate over the true one, less 1.
    pub(super) rate_error: Option<f64>,
    /// The site that was named first.
    pub(super) first: String,
}

/// The report's word on `truth`, of which `true_rate` bytes per second are known to have leaked.
pub(super) fn judge(truth: &Truth, true_rate: f64, report: &Value) -> Found {
    let verdicts = rows(report, "verdicts");
    let layers: Vec<&Value> = verdicts.iter().filter(|verdict| verdict["site"].is_null()).collect();
    let leaking: Vec<&str> = layers
        .iter()
        .filter(|verdict| leaks(verdict))
        .filter_map(|verdict| verdict["layer"].as_str())
        .collect();
    let growing: Vec<&str> =
        rows(report, "growing_resources").iter().filter_map(|row| row["gauge"].as_str()).collect();
    let is_meant = |gauge: &str| !truth.resource.is_empty() && gauge.to_lowercase().contains(&truth.resource);
    let mut alarms: Vec<String> = leaking
        .iter()
        .filter(|layer| !truth.leaks || **layer != truth.layer)
        .filter(|layer| !truth.also.iter().any(|also| also == **layer))
        .map(|layer| (*layer).to_owned())
        .collect();
    // A leak may well need descriptors or mappings; of an innocent they are one more false alarm.
    if !truth.leaks && truth.resource.is_empty() {
        alarms.extend(growing.iter().map(|gauge| (*gauge).to_owned()));
    }
    let layer = layers.iter().find(|verdict| verdict["layer"] == truth.layer);
    let mut found = Found { alarms, ..Found::default() };
    found.said = layer.and_then(|verdict| verdict["kind"].as_str()).unwrap_or("-").to_owned();
    let has_kinds = layers.iter().any(|verdict| verdict["leaks"].is_boolean());
    if has_kinds && !truth.kind.is_empty() {
        found.kind = Some(found.said == truth.kind);
    }
    if !truth.resource.is_empty() {
        found.leak = growing.iter().any(|gauge| is_meant(gauge)) && found.alarms.is_empty();
        return found;
    }
    if !truth.leaks {
        found.leak = found.alarms.is_empty();
        return found;
    }
    found.layer = Some(leaking.contains(&truth.layer.as_str()));
    found.leak = found.layer == Some(true);
    if truth.rate {
        let told =
            layer.filter(|verdict| leaks(verdict)).and_then(|verdict| verdict["bytes_per_second"].as_f64());
        found.rate_error = told.map(|rate| rate / true_rate - 1.0);
    }
    if truth.site {
        let sites = sites(truth, report, verdicts);
        found.rank = sites.iter().position(|site| is_to_blame(truth, site)).map(|at| at + 1);
        found.first = sites.first().map(name).unwrap_or_default();
    }
    found
}

fn rows<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map_or(&[], Vec::as_slice)
}

fn leaks(verdict: &Value) -> bool {
    verdict["leaks"].as_bool().unwrap_or(verdict["kind"] == "leaking")
}

/// The layer's sites as a reader meets them: those that were called leaking, then those that grew most.
fn sites(truth: &Truth, report: &Value, verdicts: &[Value]) -> Vec<Value> {
    let of_layer = |row: &&Value| row["layer"] == truth.layer;
    let mut sites: Vec<Value> = Vec::new();
    let told = verdicts.iter().filter(of_layer).filter(|row| !row["site"].is_null() && leaks(row));
    let mut add = |site: &Value| {
        if !sites.iter().any(|known| known["id"] == site["id"]) {
            sites.push(site.clone());
        }
    };
    told.for_each(|row| add(&row["site"]));
    let mut grown: Vec<(f64, Value)> = rows(report, "growth")
        .iter()
        .filter(of_layer)
        .flat_map(|growth| rows(growth, "sites"))
        .map(|row| (row["grown_bytes"].as_f64().unwrap_or(0.0), row["site"].clone()))
        .collect();
    grown.sort_by(|a, b| b.0.total_cmp(&a.0));
    grown.iter().for_each(|(_, site)| add(site));
    sites
}

/// One of the frames stands on a marked line. Each line is marked for one program only, so nothing else passes it.
fn is_to_blame(truth: &Truth, site: &Value) -> bool {
    rows(site, "frames").iter().any(|frame| {
        let file = frame["file"].as_str().unwrap_or_default();
        let file = file.rsplit('/').next().unwrap_or_default();
        file == truth.source() && frame["line"].as_u64().is_some_and(|line| truth.lines.contains(&line))
    })
}

/// The innermost frame that is told by a name and a line, for the table.
fn name(site: &Value) -> String {
    if let Some(class) = site["class"].as_str() {
        return class.to_owned();
    }
    let frames = rows(site, "frames");
    let Some(frame) = frames.iter().find(|frame| frame["line"].as_u64().unwrap_or(0) > 0).or(frames.first())
    else {
        return "?".into();
    };
    let file = frame["file"].as_str().unwrap_or_default();
    format!("{}:{}", file.rsplit('/').next().unwrap_or_default(), frame["line"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `truth` is "layer kind" of a leak or "ok layer kind"; a verdict is "layer kind rate", sites "file:line" by bytes.
    fn check(truth: &str, verdicts: &[&str], sites: &[&str], expected: &str) {
        let words: Vec<&str> = truth.split(' ').collect();
        let innocent = words[0] == "ok";
        let truth = Truth {
            file: "python/a.py".into(),
            program: "x".into(),
            name: "x".into(),
            leaks: !innocent,
            layer: words[usize::from(innocent)].into(),
            kind: words[usize::from(innocent) + 1].into(),
            also: Vec::new(),
            rate: true,
            site: true,
            resource: String::new(),
            java: Vec::new(),
            smoke: false,
            kib_per_second: (1.0, 2.0),
            lines: vec![7],
        };
        let verdict = |text: &&str| {
            let words: Vec<&str> = text.split(' ').collect();
            let rate: f64 = words[2].parse().expect("a number");
            let leaks = ["steady", "steps", "accelerating"].contains(&words[1]);
            json!({"layer": words[0], "kind": words[1], "leaks": leaks, "site": null, "bytes_per_second": rate})
        };
        let site = |(index, text): (usize, &&str)| {
            let (file, line) = text.split_once(':').expect("file:line");
            let line: u64 = line.parse().expect("a number");
            let frames = json!([{"file": format!("/x/{file}"), "line": line}]);
            json!({"site": {"id": text, "frames": frames}, "grown_bytes": 100 - index})
        };
        let report = json!({
            "verdicts": verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "growth": [{"layer": truth.layer, "sites": sites.iter().enumerate().map(site).collect::<Vec<_>>()}],
            "growing_resources": [],
        });
        let found = judge(&truth, 100.0, &report);
        let text = format!(
            "leak {} layer {:?} kind {:?} rank {:?} rate {:.2?} alarms {:?}",
            found.leak, found.layer, found.kind, found.rank, found.rate_error, found.alarms
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_leak_is_right_when_its_layer_kind_line_and_rate_are() {
        check(
            "python steady",
            &["python steady 105", "native quiet 0"],
            &["a.py:7", "a.py:8"],
            "leak true layer Some(true) kind Some(true) rank Some(1) rate Some(0.05) alarms []",
        );
        check(
            "python steady",
            &["native steady 105", "python plateau 0"],
            &["b.py:7", "a.py:7"],
            "leak false layer Some(false) kind Some(false) rank Some(2) rate None alarms [\"native\"]",
        );
    }

    #[test]
    fn an_innocent_is_right_when_nobody_cries() {
        check(
            "ok python plateau",
            &["python plateau 0"],
            &[],
            "leak true layer None kind Some(true) rank None rate None alarms []",
        );
        check(
            "ok python plateau",
            &["python steps 9"],
            &[],
            "leak false layer None kind Some(false) rank None rate None alarms [\"python\"]",
        );
    }
}
