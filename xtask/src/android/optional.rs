//! Makes a library's imports of CPython weak, so that it can be loaded where nobody shows them to it: in a process whose
//! libpython was loaded privately, and by Android's loader, which shows no library's names to another unless that one
//! needs it by its file's name. Leakline binds them by hand then (`leakline_probing::imports`).
//! Changes one byte of each such symbol, and nothing else.

use anyhow::{Context as _, ensure};
use object::elf;
use object::read::elf::{FileHeader, Sym as _};
use object::{Endianness, FileKind};

/// Gives how many there are.
pub(crate) fn make_optional(data: &mut [u8]) -> anyhow::Result<usize> {
    let places = match FileKind::parse(&*data)? {
        FileKind::Elf32 => places::<elf::FileHeader32<Endianness>>(data, 12)?,
        _ => places::<elf::FileHeader64<Endianness>>(data, 4)?,
    };
    for place in &places {
        let info = data.get_mut(*place).context("a symbol outside of the file")?;
        *info = elf::STB_WEAK.0 << 4 | *info & 0xf;
    }
    Ok(places.len())
}

/// Whether a symbol is CPython's.
pub(crate) fn is_pythons(name: &[u8]) -> bool {
    name.starts_with(b"Py") || name.starts_with(b"_Py")
}

/// Where in the file the byte is that says how each is bound: `info_at` bytes into the symbol.
fn places<E: FileHeader<Endian = Endianness>>(data: &[u8], info_at: usize) -> anyhow::Result<Vec<usize>> {
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let symbols = sections.symbols(endian, data, elf::SHT_DYNSYM)?;
    let begin = data.as_ptr() as usize;
    let mut places = Vec::new();
    for symbol in symbols.iter() {
        if symbol.is_undefined(endian) && is_pythons(symbol.name(endian, symbols.strings())?) {
            places.push(std::ptr::from_ref(symbol) as usize - begin + info_at);
        }
    }
    ensure!(!places.is_empty(), "it imports nothing of CPython's");
    Ok(places)
}
