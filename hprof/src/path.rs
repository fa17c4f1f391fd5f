//! A path's steps as words.
//! Names what it finds in the dump; what the dump lacks is left out, never guessed.

use std::io::{Read, Seek};

use crate::dump::Dump;
use crate::error::HprofError;
use crate::holders::Path;
use crate::record::RootKind;
use crate::shape::Step;
use crate::strings::quoted;

/// How a thread's locals are kept, on HotSpot and on ART.
const THREAD_LOCALS: [&str; 2] = ["threadLocals", "inheritableThreadLocals"];

impl<R: Read + Seek> Dump<R> {
    pub(crate) fn path(&mut self, steps: &[(Step, bool)]) -> Result<Path, HprofError> {
        let Some(((first, _), rest)) = steps.split_first() else {
            return Ok(Path { root: "unknown", name: String::new(), steps: Vec::new() });
        };
        let (mut root, name, first_step) = self.root_words(*first)?;
        let mut words: Vec<String> = first_step.into_iter().collect();
        for (step, repeats) in rest {
            let mut word = self.step_words(*step)?;
            if *repeats {
                word.push('…');
            }
            words.push(word);
        }
        if let Some(count) = thread_local(&words).filter(|_| matches!(first, Step::Thread { .. })) {
            root = "thread local of thread";
            words.drain(..count);
        }
        Ok(Path { root, name, steps: words })
    }

    /// Kind and name of a root, and the first step where the root is more than that.
    fn root_words(&mut self, step: Step) -> Result<(&'static str, String, Option<String>), HprofError> {
        Ok(match step {
            Step::Root { kind, thread, frame } => {
                let name = match kind {
                    RootKind::Frame | RootKind::JniLocal => self.place_on_stack(thread, frame)?,
                    RootKind::NativeStack | RootKind::ThreadBlock => self.thread_by_serial(thread)?,
                    _ => String::new(),
                };
                (root_word(kind), name, None)
            }
            Step::Thread { object } => ("thread", self.thread_name(object)?, None),
            Step::Static { class, field } => ("static", self.static_words(class, field)?, None),
            Step::Finalizer { .. } => ("waiting for its finalizer", String::new(), None),
            other => ("unknown", String::new(), Some(self.step_words(other)?)),
        })
    }

    fn step_words(&mut self, step: Step) -> Result<String, HprofError> {
        Ok(match step {
            Step::Static { class, field } => format!("static {}", self.field(class, field)?),
            Step::Field { class, field } => {
                let is_loader =
                    self.known.loader != 0 && self.ancestry(class).any(|id| id == self.known.loader);
                let field = self.field(class, field)?;
                if is_loader { format!("class loader {field}") } else { field }
            }
            Step::Element { class } => self.short_name(class)?,
            Step::Class { class } => format!("class of {}", self.short_name(class)?),
            Step::Loader { class } => format!("class loader of {}", self.short_name(class)?),
            Step::Superclass { class } => format!("superclass of {}", self.short_name(class)?),
            Step::Soft { class } => format!("softly {}", self.short_name(class)?),
            Step::Finalizer { class } => self.short_name(class)?,
            Step::Thread { object } => format!("thread {}", self.thread_name(object)?),
            Step::Root { kind, .. } => root_word(kind).to_owned(),
        })
    }

    /// With the loader's class where the field is gone with the loader: then who holds that is the next question.
    fn static_words(&mut self, class: u64, field: u64) -> Result<String, HprofError> {
        let field = self.field(class, field)?;
        Ok(match self.passing_loader(class)? {
            Some(loader) => format!("{field} (class loader {})", self.class_name(loader)?),
            None => field,
        })
    }

    fn field(&mut self, class: u64, field: u64) -> Result<String, HprofError> {
        Ok(format!("{}.{}", self.class_name(class)?, self.text(field)?))
    }

    /// Everybody knows where `Object` is from.
    fn short_name(&mut self, class: u64) -> Result<String, HprofError> {
        let name = self.class_name(class)?;
        Ok(name.strip_prefix("java.lang.Object[").map(|rest| format!("Object[{rest}")).unwrap_or(name))
    }

    /// `"main" in relay.Relay.run:41`.
    fn place_on_stack(&mut self, thread: u32, frame: u32) -> Result<String, HprofError> {
        let name = self.thread_by_serial(thread)?;
        let Some(place) = self.frame_words(thread, frame)? else { return Ok(name) };
        Ok(format!("{name} in {place}"))
    }

    fn frame_words(&mut self, thread: u32, frame: u32) -> Result<Option<String>, HprofError> {
        let trace = self.scan.threads.get(&thread).map(|(_, trace)| *trace);
        let Some((at, frames)) = trace.and_then(|trace| self.scan.traces.get(&trace).copied()) else {
            return Ok(None);
        };
        if frame >= frames {
            return Ok(None);
        }
        let id = self.id_at(at + u64::from(frame) * u64::from(self.header.id_bytes), "STACK TRACE")?;
        let Some(frame) = self.scan.frames.get(&id).copied() else { return Ok(None) };
        let class = self.scan.class_serials.get(&frame.class_serial).copied().unwrap_or_default();
        let line = match frame.line {
            line @ 1.. => format!(":{line}"),
            -3 => " (native)".to_owned(),
            _ => String::new(),
        };
        Ok(Some(format!("{}.{}{line}", self.class_name(class)?, self.text(frame.method)?)))
    }

    fn thread_by_serial(&mut self, serial: u32) -> Result<String, HprofError> {
        match self.scan.threads.get(&serial).copied() {
            Some((object, _)) => self.thread_name(object),
            None => Ok(String::new()),
        }
    }

    fn thread_name(&mut self, object: u64) -> Result<String, HprofError> {
        Ok(quoted(&self.string_in(object, "name")?.unwrap_or_default()))
    }
}

/// How many of the words lead from a thread to the value of one of its locals.
fn thread_local(words: &[String]) -> Option<usize> {
    let [locals, table, entries, value, ..] = words else { return None };
    let ends = |word: &str, field: &str| word.trim_end_matches('…').rsplit('.').next() == Some(field);
    let is_local = THREAD_LOCALS.iter().any(|field| ends(locals, field))
        && ends(table, "table")
        && entries.ends_with("Entry[]")
        && ends(value, "value");
    is_local.then_some(4)
}

fn root_word(kind: RootKind) -> &'static str {
    match kind {
        RootKind::Thread => "thread",
        RootKind::StickyClass => "system class",
        RootKind::JniGlobal => "JNI global",
        RootKind::Monitor => "monitor",
        RootKind::JniLocal => "JNI local of",
        RootKind::Frame => "stack of",
        RootKind::NativeStack => "native stack of",
        RootKind::ThreadBlock => "blocked thread",
        RootKind::Interned => "interned string",
        RootKind::Finalizing => "waiting for its finalizer",
        RootKind::Debugger => "debugger",
        RootKind::ReferenceCleanup => "reference cleanup",
        RootKind::Internal => "virtual machine",
        RootKind::Unknown => "unknown",
    }
}
