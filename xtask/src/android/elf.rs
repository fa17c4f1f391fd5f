//! What Android's loader and its stores ask of a library, and what we ask of ours. Reads bytes, nothing else.

use anyhow::Context as _;
use object::elf;
use object::read::elf::{Dyn as _, FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, Object as _, ObjectSymbol as _};

use super::optional::is_pythons;
use super::{Abi, Product, sysroot};

/// Libraries that every Android has and that an app may use.
const NEEDS: &[&str] = &["libc.so", "libm.so", "libdl.so", "liblog.so"];
/// Newer than API 24: they may be there, so they must be weak.
const NEWER: &[&str] =
    &["getrandom", "mallinfo2", "preadv2", "pwritev2", "memfd_create", "statx", "copy_file_range"];

/// Everything that is wrong with a library.
pub(crate) fn faults(data: &[u8], abi: &Abi, product: &Product) -> anyhow::Result<Vec<String>> {
    let file = object::File::parse(data).context("it is no ELF file")?;
    let mut faults = Vec::new();
    if file.architecture() != abi.machine {
        faults.push(format!("is for {:?}", file.architecture()));
    }
    let known = sysroot::all_symbols(abi)?;
    for symbol in file.dynamic_symbols() {
        let name = symbol.name().unwrap_or_default();
        if symbol.is_undefined() && product.is_python && is_pythons(name.as_bytes()) {
            // Nobody shows them to it: one that is not weak keeps the library from being loaded.
            if !symbol.is_weak() {
                faults.push(format!("needs {name}, and it is not weak"));
            }
        } else if symbol.is_undefined() && !name.is_empty() {
            if !known.iter().any(|known| known == name) {
                faults.push(format!("needs {name}, which is not on the list"));
            } else if NEWER.contains(&name) && !symbol.is_weak() {
                faults.push(format!("needs {name}, which API 24 does not have, and it is not weak"));
            }
        } else if symbol.is_definition() && !product.exports.contains(&name) {
            faults.push(format!("exports {name}"));
        }
    }
    for wanted in product.exports {
        if !file.dynamic_symbols().any(|symbol| symbol.is_definition() && symbol.name() == Ok(*wanted)) {
            faults.push(format!("does not export {wanted}"));
        }
    }
    faults.extend(match FileKind::parse(data)? {
        FileKind::Elf32 => headers::<elf::FileHeader32<Endianness>>(data, abi, product)?,
        _ => headers::<elf::FileHeader64<Endianness>>(data, abi, product)?,
    });
    Ok(faults)
}

/// What the program headers and the dynamic section say.
fn headers<E: FileHeader<Endian = Endianness>>(
    data: &[u8],
    abi: &Abi,
    product: &Product,
) -> anyhow::Result<Vec<String>> {
    let header = E::parse(data)?;
    let endian = header.endian()?;
    let mut faults = Vec::new();
    let (mut is_protected, mut binds_now, mut soname) = (false, false, None);
    let sections = header.sections(endian, data)?;
    for program in header.program_headers(endian, data)? {
        let alignment: u64 = program.p_align(endian).into();
        match program.p_type(endian) {
            elf::PT_LOAD if alignment < abi.alignment => {
                faults.push(format!("is aligned to {alignment} bytes, and needs {}", abi.alignment));
            }
            elf::PT_GNU_RELRO => is_protected = true,
            elf::PT_GNU_STACK if program.p_flags(endian).0 & elf::PF_X.0 != 0 => {
                faults.push("has an executable stack".to_owned());
            }
            _ => {}
        }
    }
    if let Some((entries, strings)) = sections.dynamic(endian, data)? {
        let strings = sections.strings(endian, data, strings)?;
        for entry in entries {
            let value: u64 = entry.d_val(endian).into();
            let text = || {
                let at = u32::try_from(value).unwrap_or(u32::MAX);
                strings.get(at).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
            };
            match entry.d_tag(endian) {
                elf::DT_NEEDED if !NEEDS.contains(&text().as_str()) => {
                    faults.push(format!("needs {}", text()));
                }
                elf::DT_SONAME => soname = Some(text()),
                elf::DT_TEXTREL => faults.push("has relocations in its code".to_owned()),
                elf::DT_FLAGS => {
                    binds_now |= value & elf::DF_BIND_NOW.0 != 0;
                    if value & elf::DF_TEXTREL.0 != 0 {
                        faults.push("has relocations in its code".to_owned());
                    }
                }
                elf::DT_FLAGS_1 => binds_now |= value & elf::DF_1_NOW.0 != 0,
                // The form that lld calls `android` is read from 6.0 on, and has other tags.
                elf::DT_RELR => {
                    faults.push("has relocations in a form that Android reads from 11 on".to_owned())
                }
                elf::DT_RPATH | elf::DT_RUNPATH => faults.push(format!("has a search path: {}", text())),
                _ => {}
            }
        }
    }
    if soname.as_deref() != Some(product.file) {
        faults.push(format!("calls itself {soname:?}"));
    }
    if !is_protected || !binds_now {
        faults.push("its relocations stay writable".to_owned());
    }
    Ok(faults)
}
