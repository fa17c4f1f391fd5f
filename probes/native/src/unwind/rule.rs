//! How to get from one frame to its caller, in one word, and how that is read out of an object's unwind table.
//!
//! Pure but for the table's bytes; never follows a pointer of a stack.

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, NativeEndian, Register, RegisterRule,
    UnwindContext, UnwindContextStorage, UnwindSection, UnwindTableRow,
};

/// What to do at a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The caller's frame begins at `base` plus `cfa`; there are offsets, from that place, of what is saved.
    Step {
        /// Whether `base` is the frame pointer, or else the stack pointer.
        from_fp: bool,
        /// Whether the place is what stands there, not the address itself.
        indirect: bool,
        /// Bytes.
        cfa: i32,
        /// Where the caller's frame pointer is saved; `None`: it was not changed.
        fp: Option<i16>,
        /// Where the return address is; `None`: in the link register still.
        ra: Option<i16>,
    },
    /// There is no caller: a thread's or the program's first function.
    Root,
    /// The kernel put the interrupted registers here.
    Signal,
    /// Code without a table: there may be a frame pointer.
    FramePointer,
    /// Code of a runtime whose frames stand for the native ones, by its place among them.
    Stop(u32),
    /// The table says something that is not understood.
    Unknown,
}

const STEP: u64 = 1;
const ROOT: u64 = 2;
const SIGNAL: u64 = 3;
const FRAME_POINTER: u64 = 4;
const STOP: u64 = 5;
const UNKNOWN: u64 = 6;
/// No offset: as a saved register it would lie in the middle of two words.
const NONE: i16 = 1;

impl Rule {
    /// In one word, never 0.
    pub(crate) fn pack(self) -> u64 {
        match self {
            Self::Step { from_fp, indirect, cfa, fp, ra } => {
                let half = |value: Option<i16>| u64::from((value.unwrap_or(NONE) as u16) >> 1);
                // Offsets are even, or the mark for none, whose lowest bit is kept apart.
                let none = |value: Option<i16>| u64::from(value.is_none());
                STEP | u64::from(from_fp) << 3
                    | u64::from(indirect) << 4
                    | none(fp) << 5
                    | none(ra) << 6
                    | half(fp) << 8
                    | half(ra) << 23
                    | u64::from(cfa as u32 & 0x3ff_ffff) << 38
            }
            Self::Root => ROOT,
            Self::Signal => SIGNAL,
            Self::FramePointer => FRAME_POINTER,
            Self::Stop(index) => STOP | u64::from(index) << 8,
            Self::Unknown => UNKNOWN,
        }
    }

    /// Out of that word.
    #[inline(always)]
    pub(crate) fn unpack(word: u64) -> Self {
        match word & 7 {
            STEP => {
                let half = |shift: u32| ((word >> shift) as i16) << 1;
                Self::Step {
                    from_fp: word >> 3 & 1 != 0,
                    indirect: word >> 4 & 1 != 0,
                    cfa: (word as i64 >> 38) as i32,
                    fp: (word >> 5 & 1 == 0).then(|| half(8)),
                    ra: (word >> 6 & 1 == 0).then(|| half(23)),
                }
            }
            ROOT => Self::Root,
            SIGNAL => Self::Signal,
            FRAME_POINTER => Self::FramePointer,
            STOP => Self::Stop((word >> 8) as u32),
            _ => Self::Unknown,
        }
    }
}

/// The numbers that DWARF gives to a processor's registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) sp: Register,
    pub(crate) fp: Register,
    pub(crate) ra: Register,
    /// Where a return address is if nothing else is said: x86 pushes it.
    pub(crate) pushed: bool,
}

pub(crate) const X86_64: Machine =
    Machine { sp: Register(7), fp: Register(6), ra: Register(16), pushed: true };
pub(crate) const AARCH64: Machine =
    Machine { sp: Register(31), fp: Register(29), ra: Register(30), pushed: false };
/// This processor's.
pub(crate) const HERE: Machine = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };

/// An object's unwind table in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table<'a> {
    /// `.eh_frame_hdr` and what follows it.
    pub(crate) header: &'a [u8],
    pub(crate) header_address: u64,
    /// All that is mapped of the object.
    pub(crate) image: &'a [u8],
    pub(crate) image_address: u64,
}

type Bytes<'a> = EndianSlice<'a, NativeEndian>;

/// Room for what a table's program does, of a fixed size.
#[derive(Debug)]
pub(crate) struct Fixed;

impl<T: gimli::ReaderOffset> UnwindContextStorage<T> for Fixed {
    type Rules = [(Register, RegisterRule<T>); 48];
    type Stack = [UnwindTableRow<T, Self>; 4];
}

/// Some kilobytes, to be used again and again.
pub(crate) type Context = UnwindContext<usize, Fixed>;

/// The rule at `address`, which lies in the object of `table`. `None`: the table has nothing for it.
pub(crate) fn compile(
    machine: Machine,
    table: Table<'_>,
    address: u64,
    context: &mut Context,
) -> Option<Rule> {
    let bases = BaseAddresses::default().set_eh_frame_hdr(table.header_address);
    let header = EhFrameHdr::from(Bytes::new(table.header, NativeEndian)).parse(&bases, 8).ok()?;
    let frame_address = match header.eh_frame_ptr() {
        gimli::Pointer::Direct(address) => address,
        gimli::Pointer::Indirect(_) => return None,
    };
    let offset = usize::try_from(frame_address.checked_sub(table.image_address)?).ok()?;
    let frame = EhFrame::from(Bytes::new(table.image.get(offset..)?, NativeEndian));
    let bases = bases.set_eh_frame(frame_address);
    let fde = header.table()?.fde_for_address(&frame, &bases, address, EhFrame::cie_from_offset).ok()?;
    if fde.is_signal_trampoline() {
        return Some(Rule::Signal);
    }
    let row = fde.unwind_info_for_address(&frame, &bases, context, address).ok()?;
    Some(rule(machine, row, &frame).unwrap_or(Rule::Unknown))
}

fn rule(machine: Machine, row: &UnwindTableRow<usize, Fixed>, frame: &EhFrame<Bytes<'_>>) -> Option<Rule> {
    let mut ra = RegisterRule::SameValue;
    let mut fp = RegisterRule::SameValue;
    for (register, rule) in row.registers() {
        match *register {
            register if register == machine.ra => ra = rule.clone(),
            register if register == machine.fp => fp = rule.clone(),
            _ => {}
        }
    }
    if ra == RegisterRule::Undefined {
        return Some(Rule::Root);
    }
    let (register, cfa, indirect) = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => (*register, *offset, false),
        CfaRule::Expression(expression) => {
            let (register, offset) = register_and_deref(expression.get(frame).ok()?.0.slice())?;
            (register, offset, true)
        }
    };
    let from_fp = match register {
        register if register == machine.fp => true,
        register if register == machine.sp => false,
        _ => return None,
    };
    let saved = |rule: RegisterRule<usize>| match rule {
        // A register that is lost is not needed by a caller that is walked through.
        RegisterRule::SameValue | RegisterRule::Undefined => Some(None),
        RegisterRule::Offset(offset) => {
            Some(Some(i16::try_from(offset).ok().filter(|offset| offset % 2 == 0)?))
        }
        _ => None,
    };
    let ra = match saved(ra)? {
        None if machine.pushed => Some(-8),
        other => other,
    };
    // 26 bits, signed.
    let cfa = i32::try_from(cfa).ok().filter(|cfa| (-0x200_0000..0x200_0000).contains(cfa))?;
    Some(Rule::Step { from_fp, indirect, cfa, fp: saved(fp)?, ra })
}

/// Of the only expression that compilers make for a frame's place, where they realigned the stack: "what stands at a
/// register's value plus this".
fn register_and_deref(expression: &[u8]) -> Option<(Register, i64)> {
    const DW_OP_BREG0: u8 = 0x70;
    const DW_OP_DEREF: u8 = 0x06;
    let [register @ 0x70..=0x8f, offset @ .., DW_OP_DEREF] = expression else { return None };
    let mut bytes = Bytes::new(offset, NativeEndian);
    let offset = gimli::Reader::read_sleb128(&mut bytes).ok()?;
    bytes.is_empty().then_some((Register(u16::from(register - DW_OP_BREG0)), offset))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_rule() -> impl Strategy<Value = Rule> {
        let offset = || proptest::option::of((-0x4000_i16..0x4000).prop_map(|half| half * 2));
        let step = (any::<bool>(), any::<bool>(), -0x200_0000..0x200_0000, offset(), offset());
        prop_oneof![
            step.prop_map(|(from_fp, indirect, cfa, fp, ra)| Rule::Step { from_fp, indirect, cfa, fp, ra }),
            any::<u32>().prop_map(Rule::Stop),
            Just(Rule::Root),
            Just(Rule::Signal),
            Just(Rule::FramePointer),
            Just(Rule::Unknown),
        ]
    }

    proptest! {
        #[test]
        fn a_rule_fits_into_its_word(rule in any_rule()) {
            prop_assert_eq!(Rule::unpack(rule.pack()), rule);
            prop_assert!(rule.pack() != 0);
        }

        #[test]
        fn any_bytes_are_a_table_that_does_no_harm(
            header in proptest::collection::vec(any::<u8>(), 0..200), image in proptest::collection::vec(any::<u8>(), 0..300),
            address in any::<u64>(), begins_well in any::<bool>(),
        ) {
            let mut header = header;
            if begins_well && header.len() >= 12 {
                header[..4].copy_from_slice(&[1, 0x1b, 0x03, 0x3b]);
                header[4..8].copy_from_slice(&1000_i32.to_ne_bytes());
                header[8..12].copy_from_slice(&8_u32.to_ne_bytes());
            }
            let table = Table { header: &header, header_address: 0, image: &image, image_address: 1004 };
            let mut context = Context::new_in();
            let _ = compile(X86_64, table, address, &mut context);
            let _ = compile(AARCH64, table, address % 2000, &mut context);
        }
    }

    #[test]
    fn the_expression_of_a_realigned_stack_is_understood_and_no_other() {
        for (bytes, expected) in [
            (&[0x76, 0x78, 0x06][..], Some((Register(6), -8))),
            (&[0x77, 0x10, 0x06], Some((Register(7), 16))),
            (&[0x76, 0x78], None),
            (&[0x77, 0x08, 0x80, 0x00, 0x3f, 0x06], None),
            (&[], None),
        ] {
            assert_eq!(register_and_deref(bytes), expected, "{bytes:x?}");
        }
    }
}
