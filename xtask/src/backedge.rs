//! Loops in a built kernel object that old kernels refuse.
//!
//! Linux 5.10 and 6.1 follow loops, but not one whose last instruction runs on into its first without a jump ("back-edge
//! from insn N to N+1" of `check_cfg` in kernel/bpf/verifier.c). Where the compiler lays one out that way is not for the
//! source to say, and booting those kernels shows it a minute later. Here it shows at once, by the same walk.
//!
//! The formats: ELF-64, little-endian (System V ABI), and BPF instructions (RFC 9669).

use anyhow::{Context, Result, ensure};

const HEADER: usize = 64;
const SECTION: usize = 64;
const INSTRUCTION: usize = 8;
/// `SHT_PROGBITS` and `SHF_EXECINSTR`.
const PROGBITS: u32 = 1;
const EXECUTABLE: u64 = 4;
/// Instruction classes of jumps, their call and exit, the jumps without a condition (the second with a 32-bit offset),
/// and the one load of two slots.
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const LONG_JUMP: u8 = 0x06;
const LOAD_64: u8 = 0x18;

/// An instruction that closes a loop by running on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BackEdge {
    /// The section it is in, which is named by the program's kind, or `.text` for functions.
    pub(crate) section: String,
    /// Number of the instruction within it.
    pub(crate) at: usize,
}

/// Every such loop in the programs and functions of an object.
///
/// # Errors
/// When the bytes are no ELF object of the kind the BPF linker writes.
pub(crate) fn back_edges(object: &[u8]) -> Result<Vec<BackEdge>> {
    ensure!(
        object.get(..6) == Some(b"\x7fELF\x02\x01"),
        "this is no little-endian ELF-64 object"
    );
    let table = read(object, 40, 8)? as usize;
    let count = read(object, 60, 2)? as usize;
    let names = section(object, table, read(object, 62, 2)? as usize)?;
    let mut found = Vec::new();
    for index in 0..count {
        let header = section(object, table, index)?;
        if header.kind == PROGBITS && header.flags & EXECUTABLE != 0 {
            let name = name(object, names.offset + header.name)?;
            let code = object
                .get(header.offset..header.offset + header.size)
                .context("a section lies outside the object")?;
            found.extend(in_code(code).into_iter().map(|at| BackEdge {
                section: name.clone(),
                at,
            }));
        }
    }
    Ok(found)
}

struct Header {
    name: usize,
    kind: u32,
    flags: u64,
    offset: usize,
    size: usize,
}

fn section(object: &[u8], table: usize, index: usize) -> Result<Header> {
    let at = table + index * SECTION;
    ensure!(table >= HEADER, "the object has no table of sections");
    Ok(Header {
        name: read(object, at, 4)? as usize,
        kind: read(object, at + 4, 4)? as u32,
        flags: read(object, at + 8, 8)?,
        offset: read(object, at + 24, 8)? as usize,
        size: read(object, at + 32, 8)? as usize,
    })
}

/// A little-endian number of `len` bytes.
fn read(object: &[u8], at: usize, len: usize) -> Result<u64> {
    let bytes = object.get(at..at + len).context("the object is cut short")?;
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn name(object: &[u8], at: usize) -> Result<String> {
    let bytes = object.get(at..).context("the object is cut short")?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Instructions that are no jumps and close a loop, found in the order the verifier walks: on first, then where a jump
/// leads.
fn in_code(code: &[u8]) -> Vec<usize> {
    let next = successors(code);
    let mut colour = vec![Colour::New; next.len()];
    let mut found = Vec::new();
    for start in 0..next.len() {
        if colour[start] != Colour::New {
            continue;
        }
        // Depth first, without recursion: an instruction, and how many of its successors were followed.
        let mut path = vec![(start, 0)];
        colour[start] = Colour::OnPath;
        while let Some((at, followed)) = path.last_mut() {
            let (from, to) = (*at, next[*at].to.get(*followed).copied());
            *followed += 1;
            match to.map(|to| (to, colour.get(to).copied())) {
                Some((to, Some(Colour::New))) => {
                    colour[to] = Colour::OnPath;
                    path.push((to, 0));
                }
                Some((_, Some(Colour::OnPath))) if !next[from].jumps => found.push(from),
                Some(_) => {}
                None => {
                    colour[from] = Colour::Done;
                    path.pop();
                }
            }
        }
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    New,
    OnPath,
    Done,
}

/// What may be executed after an instruction, and whether it gets there by jumping.
struct Next {
    to: Vec<usize>,
    jumps: bool,
}

/// The second half of a long load is nothing by itself.
fn successors(code: &[u8]) -> Vec<Next> {
    let mut second_half = false;
    let next = |jumps, to| Next { to, jumps };
    code.chunks_exact(INSTRUCTION)
        .enumerate()
        .map(|(at, bytes)| {
            if std::mem::take(&mut second_half) {
                return next(false, Vec::new());
            }
            let opcode = bytes[0];
            second_half = opcode == LOAD_64;
            if opcode == EXIT {
                return next(true, Vec::new());
            }
            if opcode == CALL || !matches!(opcode & 0x07, CLASS_JMP | CLASS_JMP32) {
                return next(false, vec![at + 1 + usize::from(second_half)]);
            }
            let by = if opcode == LONG_JUMP {
                i64::from(i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]))
            } else {
                i64::from(i16::from_le_bytes([bytes[2], bytes[3]]))
            };
            let target = usize::try_from(at as i64 + 1 + by).ok();
            let always = opcode == LONG_JUMP || opcode == JUMP;
            next(true, (!always).then_some(at + 1).into_iter().chain(target).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_runs_on_into_its_beginning_is_found() {
        let code: Vec<u8> = [
            // Into the middle of the loop, whose beginning comes last.
            [JUMP, 0, 1, 0, 0, 0, 0, 0],
            [EXIT, 0, 0, 0, 0, 0, 0, 0],
            // 2: a load of two slots, whose second half looks like a jump backwards; 4: a call runs on into 5.
            [LOAD_64, 0, 0, 0, 1, 0, 0, 0],
            [JUMP, 0, 0xff, 0xff, 0, 0, 0, 0],
            [CALL, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff],
            // 5: out, or on to 6 and from there back to 2, by a jump.
            [0x15, 0, 0xfb, 0xff, 0, 0, 0, 0],
            [LONG_JUMP, 0, 0, 0, 0xfb, 0xff, 0xff, 0xff],
        ]
        .concat();
        assert_eq!(in_code(&code), [0; 0], "every loop here is closed by a jump");
        // Entered at 5 instead, the loop is closed by the call that runs on into it.
        let entered = [[JUMP, 0, 4, 0, 0, 0, 0, 0].as_slice(), &code[INSTRUCTION..]].concat();
        assert_eq!(in_code(&entered), [4]);
    }

    #[test]
    fn what_is_no_object_is_said_to_be_none() {
        for bytes in [&b"\x7fELF\x02\x02"[..], b"\x7fELF\x02\x01", b""] {
            assert!(back_edges(bytes).is_err());
        }
    }
}
