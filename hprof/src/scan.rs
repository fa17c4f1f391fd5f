//! The first pass over a dump: where every object is, what classes there are and how many of each, and the roots.
//! Keeps 16 bytes for each object and nothing of its contents.

use std::io::{Read, Seek};

use rustc_hash::FxHashMap;

use crate::cursor::{Cursor, Kind};
use crate::error::HprofError;
use crate::index::Index;
use crate::layout::{COUNT, LAYOUTS};
use crate::pages::Pages;
use crate::record::{Header, HeapRecord, Record, RootKind};

/// Objects are numbered with 32 bits.
const MAX_OBJECTS: usize = u32::MAX as usize - 1;

/// How many there are of a class; of arrays the bytes, too, as each of `LAYOUTS` has them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Population {
    pub(crate) count: u64,
    pub(crate) array_bytes: [u64; COUNT],
}

impl Population {
    pub(crate) fn add_array(&mut self, kind: Kind, length: u32) {
        self.count += 1;
        for (bytes, layout) in self.array_bytes.iter_mut().zip(LAYOUTS) {
            *bytes = bytes.saturating_add(layout.array(kind, length));
        }
    }
}

/// A class, without its static fields: they are read when they are wanted.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) superclass: u64,
    pub(crate) loader: u64,
    pub(crate) instance_bytes: u32,
    pub(crate) fields: Box<[(u64, Kind)]>,
}

/// An object that is held by no other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Root {
    pub(crate) kind: RootKind,
    pub(crate) object: u64,
    pub(crate) thread: u32,
    pub(crate) frame: u32,
}

/// A method on a stack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) method: u64,
    pub(crate) class_serial: u32,
    pub(crate) line: i32,
}

/// How much of the heap was met.
#[derive(Debug, Clone, Copy, Default)]
enum HeapState {
    #[default]
    None,
    /// More may follow.
    Segments,
    Whole,
}

/// What the first pass finds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) index: Index,
    /// Offset and length of each text.
    pub(crate) texts: FxHashMap<u64, (u64, u32)>,
    pub(crate) classes: FxHashMap<u64, Class>,
    pub(crate) class_names: FxHashMap<u64, u64>,
    pub(crate) class_serials: FxHashMap<u32, u64>,
    pub(crate) instances: FxHashMap<u64, Population>,
    /// In the order of `Kind::PRIMITIVES`.
    pub(crate) primitives: [Population; 8],
    pub(crate) roots: Vec<Root>,
    pub(crate) frames: FxHashMap<u64, Frame>,
    /// Where the frames of each trace are, and how many.
    pub(crate) traces: FxHashMap<u32, (u64, u32)>,
    /// The object of each thread, and the serial number of its trace.
    pub(crate) threads: FxHashMap<u32, (u64, u32)>,
    heap: HeapState,
    entries: Vec<(u64, u64)>,
}

impl Scan {
    pub(crate) fn of<R: Read + Seek>(pages: &mut Pages<R>, header: Header) -> Result<Self, HprofError> {
        let mut scan = Self::default();
        let (mut at, end) = (header.records, pages.bytes());
        loop {
            let mut cursor = Cursor::new(pages, at, end, header.id_bytes);
            let Some(record) = cursor.record()? else { break };
            at = cursor.at;
            scan.take(record);
            if let Record::Heap { at, end, .. } = record {
                scan.heap(&mut Cursor::new(pages, at, end, header.id_bytes))?;
            }
        }
        match scan.heap {
            HeapState::Whole => {}
            HeapState::None => {
                return Err(HprofError::CutOff { offset: end, record: "the file, before any heap" });
            }
            HeapState::Segments => {
                return Err(HprofError::CutOff { offset: end, record: "the file, before HEAP DUMP END" });
            }
        }
        scan.index = Index::new(std::mem::take(&mut scan.entries));
        Ok(scan)
    }

    fn take(&mut self, record: Record) {
        match record {
            Record::Text { id, at, bytes } => drop(self.texts.insert(id, (at, bytes))),
            Record::LoadedClass { serial, class, name } => {
                self.class_serials.insert(serial, class);
                self.class_names.insert(class, name);
            }
            Record::Frame { id, method, class_serial, line } => {
                self.frames.insert(id, Frame { method, class_serial, line });
            }
            Record::Trace { serial, frames, at } => drop(self.traces.insert(serial, (at, frames))),
            Record::Heap { segment: true, .. } => self.heap = HeapState::Segments,
            Record::Heap { .. } | Record::End => self.heap = HeapState::Whole,
            Record::Other => {}
        }
    }

    fn heap<R: Read + Seek>(&mut self, cursor: &mut Cursor<'_, R>) -> Result<(), HprofError> {
        loop {
            cursor.record = "the heap";
            let at = cursor.at;
            let Some(record) = cursor.heap_record()? else { return Ok(()) };
            let id = match record {
                HeapRecord::Root { kind, object, thread, frame } => {
                    if kind == RootKind::Thread {
                        self.threads.insert(thread, (object, frame));
                    }
                    self.roots.push(Root { kind, object, thread, frame });
                    continue;
                }
                HeapRecord::Class { id, dump } => {
                    let class = Class {
                        superclass: dump.superclass,
                        loader: dump.loader,
                        instance_bytes: dump.instance_bytes,
                        fields: dump.fields.into_boxed_slice(),
                    };
                    self.classes.insert(id, class);
                    id
                }
                HeapRecord::Instance { id, class, .. } => {
                    self.instances.entry(class).or_default().count += 1;
                    id
                }
                HeapRecord::Objects { id, class, length, .. } => {
                    self.instances.entry(class).or_default().add_array(Kind::Object, length);
                    id
                }
                HeapRecord::Primitives { id, kind, length, .. } => {
                    if let Some(place) = Kind::PRIMITIVES.iter().position(|known| *known == kind) {
                        self.primitives[place].add_array(kind, length);
                    }
                    id
                }
                HeapRecord::Other => continue,
            };
            if self.entries.len() == MAX_OBJECTS {
                let limit = MAX_OBJECTS as u64;
                return Err(HprofError::TooMany { offset: at, what: "objects", limit });
            }
            self.entries.push((id, at));
        }
    }
}
