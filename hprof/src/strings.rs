//! Texts of `java.lang.String` objects, of every form that virtual machines keep them in.
//! Reads so much as a name can be long, and no more.

use std::io::{Read, Seek};

use crate::cursor::Kind;
use crate::dump::Dump;
use crate::error::HprofError;
use crate::record::HeapRecord;

/// Elements that are read of a text.
const MAX_LENGTH: u32 = 256;
/// In `String.coder`: the bytes are UTF-16.
const UTF16: u8 = 1;

impl<R: Read + Seek> Dump<R> {
    /// The text in the field `name` of an object: a string, or characters as Java 6 kept a thread's name.
    pub(crate) fn string_in(&mut self, object: u64, name: &str) -> Result<Option<String>, HprofError> {
        let Some((at, kind)) = self.place_of(object, name)? else { return Ok(None) };
        if kind != Kind::Object {
            return Ok(None);
        }
        let text = self.id_at(at, "INSTANCE DUMP")?;
        let (characters, wide) = match self.object_of(text)? {
            Some(HeapRecord::Instance { .. }) => {
                let Some((value, Kind::Object)) = self.place_of(text, "value")? else { return Ok(None) };
                let mut coder = [0];
                if let Some((at, Kind::Byte)) = self.place_of(text, "coder")? {
                    self.pages.read(at, &mut coder, "INSTANCE DUMP")?;
                }
                (self.id_at(value, "INSTANCE DUMP")?, coder[0] == UTF16)
            }
            _ => (text, false),
        };
        self.characters(characters, wide)
    }

    fn characters(&mut self, array: u64, wide: bool) -> Result<Option<String>, HprofError> {
        let Some(HeapRecord::Primitives { kind, elements, length, .. }) = self.object_of(array)? else {
            return Ok(None);
        };
        let bytes = match kind {
            Kind::Byte => length.min(MAX_LENGTH),
            Kind::Char => length.min(MAX_LENGTH) * 2,
            _ => return Ok(None),
        };
        let mut text = vec![0; bytes as usize];
        self.pages.read(elements, &mut text, "PRIMITIVE ARRAY DUMP")?;
        Ok(Some(match kind {
            Kind::Byte if !wide => text.into_iter().map(char::from).collect(),
            // Elements of a char[] are big-endian as all of the dump is; bytes stand as the machine has them.
            Kind::Byte => utf16(&text, u16::from_le_bytes),
            _ => utf16(&text, u16::from_be_bytes),
        }))
    }

    /// Where a field of an instance is, its class's own or inherited.
    fn place_of(&mut self, object: u64, name: &str) -> Result<Option<(u64, Kind)>, HprofError> {
        let Some(HeapRecord::Instance { class, data, bytes, .. }) = self.object_of(object)? else {
            return Ok(None);
        };
        let id_bytes = u64::from(self.header.id_bytes);
        let mut at = data;
        for class in self.ancestry(class).collect::<Vec<_>>() {
            let fields = self.scan.classes.get(&class).map_or_else(Vec::new, |class| class.fields.to_vec());
            for (field, kind) in fields {
                let next = at + kind.bytes(id_bytes);
                if next > data + u64::from(bytes) {
                    return Ok(None);
                }
                if self.text(field)? == name {
                    return Ok(Some((at, kind)));
                }
                at = next;
            }
        }
        Ok(None)
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).map(|decoded| decoded.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// In quotes.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
