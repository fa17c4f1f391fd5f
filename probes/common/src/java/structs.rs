//! HotSpot describes its own fields to debuggers, in tables that it exports. Read through the kernel, so without entering the
//! JVM, and before it may be entered.
//! Never follows anything that the tables do not name, and takes a missing table for an answer.

use crate::loader;
use crate::memory::{text, words};

/// More fields than HotSpot describes.
const MOST: u64 = 10_000;

/// A field, as the tables describe it.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The type that has it.
    pub owner: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// Where it is within an object.
    pub offset: u64,
    /// Where it is, of a static one.
    pub address: u64,
}

/// Visits the fields of the types `owners`. `None`: no HotSpot is loaded, or it has no such tables.
pub fn fields(owners: &[&[u8]], mut visit: impl FnMut(Field<'_>)) -> Option<()> {
    let library = loader::loaded_object(&["libjvm.so"])?;
    let exported = |name| words::<1>(library.symbol(name)?.as_ptr() as u64).map(|[value]| value);
    let table = exported(c"gHotSpotVMStructs")?;
    let stride = exported(c"gHotSpotVMStructEntryArrayStride")?;
    let type_name = exported(c"gHotSpotVMStructEntryTypeNameOffset")?;
    let field_name = exported(c"gHotSpotVMStructEntryFieldNameOffset")?;
    let offset = exported(c"gHotSpotVMStructEntryOffsetOffset")?;
    let address = exported(c"gHotSpotVMStructEntryAddressOffset")?;
    for number in 0..MOST {
        let entry = table.checked_add(number.checked_mul(stride)?)?;
        let value = |at: u64| words::<1>(entry.checked_add(at)?).map(|[value]| value);
        let owner = value(type_name)?;
        if owner == 0 {
            break;
        }
        let Some(owner) = text(owner).filter(|owner| owners.contains(&owner.as_slice())) else { continue };
        let Some(name) = value(field_name).and_then(text) else { continue };
        if let (Some(offset), Some(address)) = (value(offset), value(address)) {
            visit(Field { owner: &owner, name: &name, offset, address });
        }
    }
    Some(())
}

/// The feature version of the HotSpot that is loaded, such as 27; `None`: it is not known, or not yet.
pub fn version() -> Option<u32> {
    let mut found = None;
    fields(&[b"Abstract_VM_Version", b"VM_Version"], |field| {
        if field.name == b"_vm_major_version" {
            found = Some(field.address);
        }
    })?;
    // An int, which the machines that HotSpot runs on keep with its low half first.
    let [word] = words::<1>(found?)?;
    u32::try_from(word & 0xffff_ffff).ok().filter(|version| (8..1000).contains(version))
}
