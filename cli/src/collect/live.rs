//! What happens in the sessions of a running collector, each in one line, for a person or for a machine.
//! Pure: gives lines, prints none. Keeps of each session only what the next line is compared with.

use std::collections::HashMap;

use leakline_collector::{CollectorEvent, EndReason};
use leakline_core::{
    Layer, Loss, Mark, Session, SessionId, Snapshot, Subject, Verdict, names, text, verdict_line,
};
use serde_json::{Value, json};

use crate::duration::words as time_words;
use crate::style::{CAUTION, FAINT, STRONG, paint};
use crate::when::{self, Detail};
use crate::words::{clean, painted, plural, short_id};

/// The gauge that a line shows of each layer but Python, which has several.
const SHOWN: &[(&str, &str)] =
    &[("JVM", names::JVM_HEAP_USED), ("Native", names::MALLOC_LIVE), ("RSS", names::RESIDENT)];

/// Follows all sessions.
#[derive(Debug)]
pub(crate) struct Live {
    as_json: bool,
    leaking: HashMap<SessionId, Vec<Layer>>,
}

impl Live {
    /// Lines for a person, or JSON objects.
    pub(crate) fn new(as_json: bool) -> Self {
        Self { as_json, leaking: HashMap::new() }
    }

    fn line(&self, id: impl Into<Option<SessionId>>, unix_nanos: u64, words: &str, object: Value) -> String {
        let id = id.into();
        if self.as_json {
            let mut line = json!({
                "session": id.map(|id| id.to_string()),
                "at": { "unix_seconds": unix_nanos as f64 / 1e9, "utc": when::rfc3339(unix_nanos) },
            });
            if let (Some(line), Value::Object(object)) = (line.as_object_mut(), object) {
                line.extend(object);
            }
            return line.to_string();
        }
        let time = when::time(unix_nanos, Detail::Seconds);
        let id = id.map(|id| paint(STRONG, short_id(id)) + " ").unwrap_or_default();
        format!("{} {id}{words}", paint(FAINT, time))
    }

    /// The lines for an event; `now` is the wall clock, for what carries no time of its own.
    pub(crate) fn lines(&mut self, event: &CollectorEvent, now: u64) -> Vec<String> {
        match event {
            CollectorEvent::SessionStarted { session, next_entry, .. } => {
                vec![self.started(session, *next_entry > 0, now)]
            }
            CollectorEvent::Snapshot { session, snapshot, verdicts } => {
                self.snapshot(*session, snapshot, verdicts)
            }
            CollectorEvent::Mark { session, mark } => vec![self.mark(*session, mark)],
            CollectorEvent::Lost { session, loss } => vec![self.lost(*session, now, *loss)],
            CollectorEvent::Gap { session, missing_entries } => {
                vec![self.gap(*session, now, *missing_entries)]
            }
            CollectorEvent::SessionEnded { session, reason } => vec![self.ended(*session, now, reason)],
            CollectorEvent::Dump { session, path, bytes } => {
                let path = path.display().to_string();
                let size = text::bytes(*bytes as f64);
                let words = format!("keeps a heap dump of {size}: {}", clean(&path));
                let object = json!({ "event": "heap_dump", "path": path, "bytes": bytes });
                vec![self.line(*session, now, &words, object)]
            }
            CollectorEvent::Refused { peer, why } => {
                let object =
                    json!({ "event": "refused", "peer": peer.map(|peer| peer.to_string()), "why": why });
                let peer = peer.map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
                let words = format!("{} {peer}: {}", paint(CAUTION, "refused"), clean(why));
                vec![self.line(None, now, &words, object)]
            }
            // What only a newer collector tells.
            _ => Vec::new(),
        }
    }

    /// The first line of all.
    pub(crate) fn listening(&self, address: &str, folder: &str) -> String {
        match self.as_json {
            true => json!({ "event": "listening", "address": address, "folder": folder }).to_string(),
            false => format!("listening on {address}  sessions go to {folder}"),
        }
    }

    fn started(&self, session: &Session, resumed: bool, now: u64) -> String {
        let host = &session.host;
        let what = if resumed { "back" } else { "started" };
        let words = format!(
            "{what} {} pid {}, every {}, {}, leakline {}",
            clean(&host.name),
            host.pid,
            time_words(session.interval),
            clean(&host.platform),
            clean(&session.agent_version),
        );
        let object = json!({
            "event": "started",
            "resumed": resumed,
            "host": host.name,
            "pid": host.pid,
            "platform": host.platform,
            "interval_seconds": session.interval.as_secs_f64(),
            "agent_version": session.agent_version,
            "application": session.origin.map(|origin| origin.application.to_string()),
            "parent_pid": session.origin.map(|origin| origin.parent),
        });
        self.line(session.id, now, &words, object)
    }

    /// The snapshot's line, and one for each layer that began or ceased to leak.
    fn snapshot(&mut self, id: SessionId, snapshot: &Snapshot, verdicts: &[Verdict]) -> Vec<String> {
        let at = snapshot.tick.at.unix_nanos;
        let python = snapshot.python_bytes().map(|(bytes, _)| ("Python", bytes));
        let others = SHOWN.iter().filter_map(|(name, gauge)| Some((*name, snapshot.gauge(gauge)?)));
        let layers: Vec<(&str, f64)> = python.into_iter().chain(others).collect();
        let mut words: Vec<String> = layers
            .iter()
            .map(|(name, value)| format!("{name}={}", text::bytes(*value).replace(' ', "")))
            .collect();
        words.extend(snapshot.skew_nanos.map(|skew| format!("skew {:.1} ms", skew as f64 / 1e6)));
        if snapshot.missed_ticks > 0 {
            words.push(paint(CAUTION, format!("{} missed", plural(snapshot.missed_ticks, "tick", "ticks"))));
        }
        let leaking: Vec<Layer> =
            verdicts.iter().filter(|verdict| verdict.kind.leaks()).filter_map(layer_of).collect();
        let object = json!({
            "event": "snapshot",
            "number": snapshot.number,
            "layers": layers.iter().map(|(name, value)| (name.to_lowercase() + "_bytes", json!(value))).collect::<serde_json::Map<_, _>>(),
            "skew_seconds": snapshot.skew_nanos.map(|skew| skew as f64 / 1e9),
            "missed_ticks": snapshot.missed_ticks,
            "leaking": leaking.iter().map(|layer| layer.name()).collect::<Vec<_>>(),
        });
        let mut lines =
            vec![self.line(id, at, &format!("#{}  {}", snapshot.number, words.join(" ")), object)];
        let before = self.leaking.insert(id, leaking.clone()).unwrap_or_default();
        for verdict in verdicts {
            let Some(layer) = layer_of(verdict) else { continue };
            let event = match (before.contains(&layer), leaking.contains(&layer)) {
                (false, true) => "leak",
                (true, false) => "leak_over",
                _ => continue,
            };
            let object = json!({
                "event": event,
                "layer": layer.name(),
                "words": verdict_line(verdict, &[]),
                "bytes_per_second": verdict.rate.map(|rate| rate.bytes_per_second),
            });
            lines.push(self.line(id, at, &painted(verdict, &[]), object));
        }
        lines
    }

    fn mark(&self, id: SessionId, mark: &Mark) -> String {
        let object = json!({ "event": "mark", "name": mark.name });
        self.line(id, mark.at.unix_nanos, &format!("mark {}", clean(&mark.name)), object)
    }

    fn lost(&self, id: SessionId, now: u64, loss: Loss) -> String {
        let words = format!(
            "{} {}, {}",
            paint(CAUTION, "lost"),
            plural(loss.snapshots, "snapshot", "snapshots"),
            text::bytes(loss.bytes as f64)
        );
        let object = json!({ "event": "lost", "snapshots": loss.snapshots, "bytes": loss.bytes });
        self.line(id, now, &words, object)
    }

    fn gap(&self, id: SessionId, now: u64, missing_entries: u64) -> String {
        let words = format!("{} {}", paint(CAUTION, "missing"), plural(missing_entries, "entry", "entries"));
        self.line(id, now, &words, json!({ "event": "missing", "missing_entries": missing_entries }))
    }

    fn ended(&mut self, id: SessionId, now: u64, reason: &EndReason) -> String {
        let (event, words) = match reason {
            EndReason::Finished => {
                self.leaking.remove(&id);
                ("ended", format!("ended; see it with: leakline report {}", short_id(id)))
            }
            EndReason::Disconnected { reason } => (
                "disconnected",
                format!("{} {}; it may come back", paint(CAUTION, "disconnected"), clean(reason)),
            ),
            EndReason::Superseded => ("superseded", "came back on another connection".to_owned()),
            EndReason::CollectorEnds => {
                ("collector_ends", "goes on without this collector, which ends".to_owned())
            }
            EndReason::Refused => ("sent_away", "sent away".to_owned()),
            // What only a newer collector tells.
            _ => ("ended", "ended".to_owned()),
        };
        let mut object = json!({ "event": event });
        if let (EndReason::Disconnected { reason }, Some(object)) = (reason, object.as_object_mut()) {
            object.insert("why".to_owned(), json!(reason));
        }
        self.line(id, now, &words, object)
    }
}

fn layer_of(verdict: &Verdict) -> Option<Layer> {
    match verdict.subject {
        Subject::Layer(layer) => Some(layer),
        Subject::Site(..) => None,
    }
}
