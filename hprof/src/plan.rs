//! Where the references are in the instances of a class, and which of them hold what they refer to.

use std::io::{Read, Seek};

use crate::cursor::Kind;
use crate::dump::Dump;
use crate::error::HprofError;
use crate::layout::{COUNT, LAYOUTS};

/// Fields of one instance that are looked at.
const MAX_FIELDS: usize = 1 << 16;

/// How a reference holds its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Hold {
    Strong,
    /// Until memory runs short.
    Soft,
    /// Until its finalizer has run.
    Finalizer,
}

/// A field that holds something.
#[derive(Debug)]
pub(crate) struct Reference {
    /// Where it is in an instance's data.
    pub(crate) offset: u64,
    pub(crate) name: u64,
    pub(crate) hold: Hold,
}

/// How to read the instances of a class.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) references: Box<[Reference]>,
    /// What the data takes in the dump.
    pub(crate) data_bytes: u64,
    /// What an instance takes on the heap, as each of `LAYOUTS` has it.
    pub(crate) bytes: [u64; COUNT],
    /// The class's own object.
    pub(crate) class: Option<u32>,
}

impl Plan {
    pub(crate) fn of<R: Read + Seek>(dump: &mut Dump<R>, class: u64) -> Result<Self, HprofError> {
        let known = dump.known;
        let ancestry: Vec<u64> = dump.ancestry(class).collect();
        let referent = if ancestry.contains(&known.finalizer) {
            Some(Hold::Finalizer)
        } else {
            ancestry.contains(&known.soft).then_some(Hold::Soft)
        };
        let (mut references, mut fields) = (Vec::new(), 0_usize);
        let (mut data_bytes, mut reference_count, mut primitive_bytes) = (0, 0, 0);
        let id_bytes = u64::from(dump.header.id_bytes);
        if known.loader != 0 && ancestry.contains(&known.loader) {
            // HotSpot's own pointer to what the loader has loaded, which is no field of Java's.
            primitive_bytes += id_bytes;
        }
        for class in ancestry {
            let Some(own) = dump.scan.classes.get(&class) else { continue };
            fields += own.fields.len();
            if fields > MAX_FIELDS {
                break;
            }
            let own: Vec<(u64, Kind)> = own.fields.to_vec();
            for (name, kind) in own {
                let bytes = kind.bytes(id_bytes);
                let offset = data_bytes;
                data_bytes += bytes;
                if kind != Kind::Object {
                    primitive_bytes += bytes;
                    continue;
                }
                reference_count += 1;
                // The collector follows neither `referent` nor `discovered` as it does other fields.
                let hold = if class == known.reference && class != 0 {
                    match &*dump.text(name)? {
                        "referent" => referent,
                        "discovered" => None,
                        _ => Some(Hold::Strong),
                    }
                } else {
                    Some(Hold::Strong)
                };
                references.extend(hold.map(|hold| Reference { offset, name, hold }));
            }
        }
        let bytes = if dump.header.android {
            // ART tells the whole size, its header's fields among the others.
            let told = dump.scan.classes.get(&class).map_or(0, |class| u64::from(class.instance_bytes));
            [told.next_multiple_of(8); COUNT]
        } else {
            LAYOUTS.map(|layout| layout.instance(reference_count, primitive_bytes))
        };
        let class = dump.scan.index.find(class);
        Ok(Self { references: references.into_boxed_slice(), data_bytes, bytes, class })
    }
}
