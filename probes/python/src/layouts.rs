//! Where each CPython keeps what leakline reads of it: one table, for 64-bit builds with a GIL.
//! `cargo xtask layouts PYTHON` derives the same numbers from an interpreter's own headers and compares them with these.
//!
//! Only numbers; nothing is read here. What stands here is believed only after a self-test at attach, and versions that
//! are not named have no entry. Layouts may change within a minor version, so the exact version decides.

/// An exact version of CPython.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 3 so far.
    pub major: u8,
    /// The 14 of 3.14.5.
    pub minor: u8,
    /// The 5 of 3.14.5.
    pub patch: u8,
}

impl Version {
    /// CPython 3.`minor`.`patch`.
    pub const fn of_3(minor: u8, patch: u8) -> Self {
        Self { major: 3, minor, patch }
    }
}

/// The two kinds of frames that CPython has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frames {
    /// 3.9 and 3.10: a chain of frame objects.
    Objects(FrameObjects),
    /// From 3.11 on: a chain of interpreter frames, which mostly have no object.
    Interpreter(InterpreterFrames),
}

/// Offsets in frame objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameObjects {
    /// Of the innermost frame in the thread state.
    pub innermost: u32,
    /// Of the caller.
    pub back: u32,
    /// Of the code object.
    pub code: u32,
    /// Of the last instruction.
    pub last_instruction: u32,
    /// Bytes in what the last instruction is counted in.
    pub unit: i32,
}

/// Offsets in interpreter frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterpreterFrames {
    /// In the thread state: of the innermost frame, or of what points to it.
    pub innermost: u32,
    /// Where the thread state has only a pointer to what has the pointer to the innermost frame.
    pub through: Option<u32>,
    /// Of the caller.
    pub previous: u32,
    /// Of the code object, whose lowest bits may be a tag.
    pub code: u32,
    /// Of the pointer to an instruction.
    pub instruction: u32,
    /// Of the byte that says whose the frame is.
    pub owner: u32,
}

/// Owners from this on mark an entry from C: such a frame has no code, or code that is no function's.
pub const FIRST_ENTRY_MARK: u8 = 3;

/// In a code object from 3.11 on: from the index of the first instruction that a tracer is told of to the code, which is
/// where its fixed part ends.
pub const FROM_FIRST_TRACEABLE: u32 = 16;

/// Where a version keeps its frames.
pub fn frames(version: Version) -> Option<Frames> {
    let objects = |last_instruction, unit| {
        Frames::Objects(FrameObjects { innermost: 24, back: 24, code: 32, last_instruction, unit })
    };
    let interpreter = |innermost, through, previous, code, owner| {
        Frames::Interpreter(InterpreterFrames { innermost, through, previous, code, instruction: 56, owner })
    };
    Some(match (version.major, version.minor) {
        (3, 9) => objects(104, 1),
        (3, 10) => objects(96, 2),
        (3, 11) => interpreter(56, Some(8), 48, 32, 69),
        (3, 12) => interpreter(56, Some(0), 8, 0, 70),
        (3, 13) => interpreter(72, None, 8, 0, 70),
        (3, 14 | 15) => interpreter(72, None, 8, 0, 74),
        _ => return None,
    })
}

/// Where an interpreter's own table of offsets, which it publishes for debuggers from 3.13 on at the beginning of
/// `_PyRuntime`, has its entries. Each is a number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The size of a thread state; it is followed by three offsets, and the one of the innermost frame.
    pub thread: u32,
    /// The size of a frame; it is followed by the offsets of previous, code, instruction, locals and owner.
    pub frame: u32,
    /// The size of a code object; its code is nine numbers further on.
    pub code: u32,
}

impl Published {
    /// What the table begins with.
    pub const COOKIE: [u8; 8] = *b"xdebugpy";
    /// `PY_VERSION_HEX` of the interpreter that made it.
    pub const VERSION: u32 = 8;
    /// Whether that is without a GIL.
    pub const FREE_THREADED: u32 = 16;

    /// Of the innermost frame in a thread state.
    pub const fn innermost(self) -> u32 {
        self.thread + 32
    }

    /// Of the caller in a frame.
    pub const fn previous(self) -> u32 {
        self.frame + 8
    }

    /// Of the code object in a frame.
    pub const fn code_of_frame(self) -> u32 {
        self.frame + 16
    }

    /// Of the pointer to an instruction in a frame.
    pub const fn instruction(self) -> u32 {
        self.frame + 24
    }

    /// Of the owner in a frame.
    pub const fn owner(self) -> u32 {
        self.frame + 40
    }

    /// Of the code in a code object.
    pub const fn code_start(self) -> u32 {
        self.code + 72
    }
}

const PUBLISHED_13: Published = Published { thread: 152, frame: 224, code: 272 };
const PUBLISHED_14: Published = Published { thread: 176, frame: 248, code: 312 };
const PUBLISHED_15: Published = Published { thread: 176, frame: 312, code: 376 };

/// How the published table of a version is to be read. For one that is not known: all ways there have been, the newest
/// first, one of which may do, and the self-test tells.
pub fn published(version: Version) -> &'static [Published] {
    match (version.major, version.minor) {
        (3, ..13) => &[],
        (3, 13) => &[PUBLISHED_13],
        (3, 14) => &[PUBLISHED_14],
        (3, 15) => &[PUBLISHED_15],
        _ => &[PUBLISHED_15, PUBLISHED_14, PUBLISHED_13],
    }
}

/// The garbage collector's lists, in bytes from the head of the youngest one, which a new object's neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collector {
    /// The head of what was frozen.
    pub frozen: u32,
    /// A pointer to the youngest list's head.
    pub to_young: u32,
    /// How often each generation was collected.
    pub collections: Collections,
}

impl Collector {
    /// The heads of the three generations, the oldest first.
    pub const GENERATIONS: [u32; 3] = [48, 24, 0];
}

/// Where the collector counts its collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collections {
    /// Up to 3.14: here, and in steps of [`Collections::STEP`].
    Here(u32),
    /// From 3.15 on: in rings of records, behind a pointer that is here.
    Behind(u32),
}

impl Collections {
    /// From one generation's count to the next.
    pub const STEP: u32 = 24;
    /// Bytes in a record of a ring.
    pub const RECORD: u32 = 64;
    /// Of the count in a record.
    pub const COUNT: u32 = 16;
    /// Where each generation's ring begins, the youngest first, and how many records it has; a byte behind them says
    /// which is the latest.
    pub const RINGS: [(u32, u32); 3] = [(0, 11), (712, 3), (912, 3)];
}

/// Where a version keeps its collector's lists; or why that cannot be read.
pub fn collector(version: Version) -> Result<Collector, &'static str> {
    Ok(match (version.major, version.minor, version.patch) {
        (3, 9..=13, _) => Collector { frozen: 80, to_young: 72, collections: Collections::Here(104) },
        // Up to 3.14.4 objects are moved between two old lists, back and forth.
        (3, 14, ..5) => return Err("its garbage collector is the incremental one, which 3.14.5 took back"),
        (3, 14, _) => Collector { frozen: 72, to_young: 232, collections: Collections::Here(96) },
        (3, 15, _) => Collector { frozen: 72, to_young: 160, collections: Collections::Behind(96) },
        _ => return Err("its garbage collector's lists are not known to leakline"),
    })
}

/// What differs between versions in objects that a census reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objects {
    /// Of the first item in a tuple.
    pub tuple_items: u32,
    /// Attributes that lie beside or in an instance.
    pub attributes: Attributes,
}

/// Where an instance of a class keeps its attributes while it has no dict. The offsets in a type are of the keys that its
/// instances share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// 3.9 and 3.10: nowhere.
    InDict,
    /// 3.11: behind a pointer of their own.
    Pointer {
        /// In the type.
        keys: u32,
    },
    /// 3.12: behind a pointer that is tagged, or else is that of a dict.
    Tagged {
        /// In the type.
        keys: u32,
    },
    /// From 3.13 on: in the instance.
    Inline {
        /// In the type.
        keys: u32,
    },
}

/// What a version's objects look like.
pub fn objects(version: Version) -> Option<Objects> {
    let (tuple_items, attributes) = match (version.major, version.minor) {
        (3, 9 | 10) => (24, Attributes::InDict),
        (3, 11) => (24, Attributes::Pointer { keys: 872 }),
        (3, 12) => (24, Attributes::Tagged { keys: 880 }),
        (3, 13) => (24, Attributes::Inline { keys: 880 }),
        (3, 14) => (32, Attributes::Inline { keys: 880 }),
        (3, 15) => (32, Attributes::Inline { keys: 888 }),
        _ => return None,
    };
    Some(Objects { tuple_items, attributes })
}

/// The last version whose objects are known.
pub const NEWEST: (u8, u8) = (3, 15);

/// What is the same in all versions from 3.9 to [`NEWEST`].
pub mod same {
    /// `tp_flags`.
    pub const TYPE_FLAGS: isize = 168;
    /// `tp_traverse`.
    pub const TYPE_TRAVERSE: isize = 184;
    /// `tp_dict`.
    pub const TYPE_DICT: isize = 264;
    /// `tp_dictoffset`.
    pub const TYPE_DICT_OFFSET: isize = 288;
    /// `tp_mro`.
    pub const TYPE_ORDER: isize = 344;
    /// Of a set: the number of its slots less one, its table, and the table that lies in it.
    pub const SET: [isize; 3] = [32, 40, 64];
    /// Of a list: slots that are allocated.
    pub const LIST_ALLOCATED: isize = 32;
    /// Of keys that are shared (3.11 and later): bytes of the index as a power of two, kind, number and index.
    pub const KEYS: [isize; 4] = [9, 10, 24, 32];
    /// Of inline attributes (3.13 and later): the first value.
    pub const INLINE_VALUES: isize = 8;
}
