//! The records of a dump, one at a time: what stands in each, without the contents of arrays and instances.
//! Knows the form only: what records mean to one another is not decided here.

use std::io::{Read, Seek};

use crate::cursor::{Cursor, Kind};
use crate::error::HprofError;

/// Longest line that a dump can begin with.
const FORMAT_BYTES: u64 = 32;

/// What a dump says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id_bytes: u8,
    /// ART writes another version than HotSpot.
    pub(crate) android: bool,
    /// Where the first record begins.
    pub(crate) records: u64,
}

/// A record outside of the heap. Places are offsets in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record {
    Text {
        id: u64,
        at: u64,
        bytes: u32,
    },
    LoadedClass {
        serial: u32,
        class: u64,
        name: u64,
    },
    Frame {
        id: u64,
        method: u64,
        class_serial: u32,
        line: i32,
    },
    Trace {
        serial: u32,
        frames: u32,
        at: u64,
    },
    Heap {
        at: u64,
        end: u64,
        segment: bool,
    },
    /// All segments were written.
    End,
    Other,
}

/// A record within the heap.
#[derive(Debug)]
pub(crate) enum HeapRecord {
    Root { kind: RootKind, object: u64, thread: u32, frame: u32 },
    Class { id: u64, dump: ClassDump },
    Instance { id: u64, class: u64, data: u64, bytes: u32 },
    Objects { id: u64, class: u64, elements: u64, length: u32 },
    Primitives { id: u64, kind: Kind, elements: u64, length: u32 },
    Other,
}

/// Why an object is a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RootKind {
    /// A thread that runs.
    Thread,
    /// A class that is never unloaded.
    StickyClass,
    /// A global reference of native code.
    JniGlobal,
    /// A monitor that is held or waited for.
    Monitor,
    /// A local reference of native code.
    JniLocal,
    /// A local variable of a running method.
    Frame,
    /// The native part of a thread's stack.
    NativeStack,
    /// What a thread is blocked on.
    ThreadBlock,
    /// A string that is interned (ART).
    Interned,
    /// An object that waits for its finalizer (ART).
    Finalizing,
    /// Held by a debugger (ART).
    Debugger,
    /// In the hands of the collector's own threads (ART).
    ReferenceCleanup,
    /// Held by the virtual machine itself.
    Internal,
    /// The dump does not say.
    Unknown,
}

/// What a class dump says of its class.
#[derive(Debug)]
pub(crate) struct ClassDump {
    pub(crate) superclass: u64,
    pub(crate) loader: u64,
    pub(crate) instance_bytes: u32,
    /// Reference fields that belong to the class: name and object.
    pub(crate) statics: Vec<(u64, u64)>,
    /// Fields of each instance: name and type.
    pub(crate) fields: Vec<(u64, Kind)>,
}

impl<R: Read + Seek> Cursor<'_, R> {
    pub(crate) fn header(&mut self) -> Result<Header, HprofError> {
        self.record = "the header";
        let mut line = Vec::new();
        while let Ok(byte @ 1..) = self.u8() {
            line.push(byte);
            if line.len() as u64 == FORMAT_BYTES {
                break;
            }
        }
        if !line.starts_with(b"JAVA PROFILE 1.0.") {
            let begins = match line.get(..2) {
                None => "nothing".to_owned(),
                Some([0x1f, 0x8b]) => "what gzip writes (gunzip it first)".to_owned(),
                Some(_) => {
                    line.iter().take(12).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
                }
            };
            return Err(HprofError::Foreign { begins });
        }
        let size = self.u32()?;
        let id_bytes = match size {
            4 => 4,
            8 => 8,
            _ => return Err(HprofError::IdentifierSize { size }),
        };
        self.skip(8)?;
        Ok(Header { id_bytes, android: line == b"JAVA PROFILE 1.0.3", records: self.at })
    }

    /// The next record, and the cursor behind it; none at the end of the file.
    pub(crate) fn record(&mut self) -> Result<Option<Record>, HprofError> {
        if self.at == self.end {
            return Ok(None);
        }
        self.record = "a record's head";
        let tag = self.u8()?;
        self.skip(4)?;
        let bytes = self.u32()?;
        let at = self.at;
        self.record = name_of(tag);
        self.skip(u64::from(bytes))?;
        let next = std::mem::replace(&mut self.at, at);
        let outer = std::mem::replace(&mut self.end, next);
        let record = self.body(tag, bytes);
        self.at = next;
        self.end = outer;
        record.map(Some)
    }

    fn body(&mut self, tag: u8, bytes: u32) -> Result<Record, HprofError> {
        Ok(match tag {
            0x01 => {
                let id = self.id()?;
                let bytes = bytes.saturating_sub(self.id_bytes() as u32);
                Record::Text { id, at: self.at, bytes }
            }
            0x02 => {
                let serial = self.u32()?;
                let class = self.id()?;
                self.skip(4)?;
                Record::LoadedClass { serial, class, name: self.id()? }
            }
            0x04 => {
                let (id, method) = (self.id()?, self.id()?);
                self.skip(2 * self.id_bytes())?;
                Record::Frame { id, method, class_serial: self.u32()?, line: self.u32()?.cast_signed() }
            }
            0x05 => {
                let serial = self.u32()?;
                self.skip(4)?;
                let frames = self.u32()?;
                let at = self.at;
                self.skip(u64::from(frames) * self.id_bytes())?;
                Record::Trace { serial, frames, at }
            }
            0x0c | 0x1c => Record::Heap { at: self.at, end: self.end, segment: tag == 0x1c },
            0x2c => Record::End,
            _ => Record::Other,
        })
    }

    /// The next record of the heap, and the cursor behind it; none at the segment's end.
    pub(crate) fn heap_record(&mut self) -> Result<Option<HeapRecord>, HprofError> {
        if self.at == self.end {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.u8()?;
        self.record = heap_name_of(tag);
        let read = match tag {
            0x20 => self.class(),
            0x21 => self.instance(),
            0x22 => self.objects(),
            0x23 => self.primitives(true),
            0xc3 => self.primitives(false),
            // ART: which of its heaps the records that follow are in.
            0xfe => self.skip(4 + self.id_bytes()).map(|()| HeapRecord::Other),
            _ => {
                let unknown = HprofError::UnknownTag { offset: at, tag, record: "the heap" };
                root_kind(tag).ok_or(unknown).and_then(|kind| self.root(tag, kind))
            }
        };
        read.map(Some)
    }

    fn root(&mut self, tag: u8, kind: RootKind) -> Result<HeapRecord, HprofError> {
        let object = self.id()?;
        let (mut thread, mut frame) = (0, u32::MAX);
        match tag {
            0x01 => self.skip(self.id_bytes())?,
            0x02 | 0x03 | 0x8e => (thread, frame) = (self.u32()?, self.u32()?),
            0x04 | 0x06 => thread = self.u32()?,
            // The frame's field is the stack trace's serial number here.
            0x08 => (thread, frame) = (self.u32()?, self.u32()?),
            _ => {}
        }
        Ok(HeapRecord::Root { kind, object, thread, frame })
    }

    fn class(&mut self) -> Result<HeapRecord, HprofError> {
        let id = self.id()?;
        Ok(HeapRecord::Class { id, dump: self.class_dump()? })
    }

    /// The rest of a class dump, behind the class's identifier.
    fn class_dump(&mut self) -> Result<ClassDump, HprofError> {
        self.record = heap_name_of(0x20);
        self.skip(4)?;
        let (superclass, loader) = (self.id()?, self.id()?);
        self.skip(4 * self.id_bytes())?;
        let instance_bytes = self.u32()?;
        for _ in 0..self.u16()? {
            self.skip(2)?;
            let bytes = self.kind()?.bytes(self.id_bytes());
            self.skip(bytes)?;
        }
        let mut statics = Vec::new();
        for _ in 0..self.u16()? {
            let name = self.id()?;
            match self.kind()? {
                Kind::Object => statics.push((name, self.id()?)),
                kind => self.skip(kind.bytes(self.id_bytes()))?,
            }
        }
        let mut fields = Vec::new();
        for _ in 0..self.u16()? {
            fields.push((self.id()?, self.kind()?));
        }
        Ok(ClassDump { superclass, loader, instance_bytes, statics, fields })
    }

    fn instance(&mut self) -> Result<HeapRecord, HprofError> {
        let id = self.id()?;
        self.skip(4)?;
        let (class, bytes) = (self.id()?, self.u32()?);
        let data = self.at;
        self.skip(u64::from(bytes))?;
        Ok(HeapRecord::Instance { id, class, data, bytes })
    }

    fn objects(&mut self) -> Result<HeapRecord, HprofError> {
        let id = self.id()?;
        self.skip(4)?;
        let (length, class) = (self.u32()?, self.id()?);
        let elements = self.at;
        self.skip(u64::from(length) * self.id_bytes())?;
        Ok(HeapRecord::Objects { id, class, elements, length })
    }

    fn primitives(&mut self, with_data: bool) -> Result<HeapRecord, HprofError> {
        let id = self.id()?;
        self.skip(4)?;
        let (length, kind) = (self.u32()?, self.kind()?);
        if kind == Kind::Object {
            return Err(self.corrupt("objects where primitive values must be"));
        }
        let elements = self.at;
        if with_data {
            self.skip(u64::from(length) * kind.bytes(self.id_bytes()))?;
        }
        Ok(HeapRecord::Primitives { id, kind, elements, length })
    }
}

fn root_kind(tag: u8) -> Option<RootKind> {
    Some(match tag {
        0x01 => RootKind::JniGlobal,
        0x02 => RootKind::JniLocal,
        0x03 => RootKind::Frame,
        0x04 => RootKind::NativeStack,
        0x05 => RootKind::StickyClass,
        0x06 => RootKind::ThreadBlock,
        0x07 | 0x8e => RootKind::Monitor,
        0x08 => RootKind::Thread,
        0x89 => RootKind::Interned,
        0x8a => RootKind::Finalizing,
        0x8b => RootKind::Debugger,
        0x8c => RootKind::ReferenceCleanup,
        0x8d => RootKind::Internal,
        0xff => RootKind::Unknown,
        _ => return None,
    })
}

fn name_of(tag: u8) -> &'static str {
    match tag {
        0x01 => "UTF8",
        0x02 => "LOAD CLASS",
        0x04 => "STACK FRAME",
        0x05 => "STACK TRACE",
        0x0c => "HEAP DUMP",
        0x1c => "HEAP DUMP SEGMENT",
        0x2c => "HEAP DUMP END",
        _ => "a record of another kind",
    }
}

fn heap_name_of(tag: u8) -> &'static str {
    match tag {
        0x20 => "CLASS DUMP",
        0x21 => "INSTANCE DUMP",
        0x22 => "OBJECT ARRAY DUMP",
        0x23 | 0xc3 => "PRIMITIVE ARRAY DUMP",
        0xfe => "HEAP DUMP INFO",
        _ => "ROOT",
    }
}
