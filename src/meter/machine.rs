//! Which machine speaks: fingerprints and what two of them have in common.
//!
//! A fingerprint has two halves, each a hash and each zero where it is not known: the hardware (product
//! UUID and board serial number, readable by root alone) and the installed system (machine id, which a
//! node without a disk makes anew at every boot). One half that is the same on both sides is enough;
//! the hardware decides where both sides know it.

use crate::Id;

const HALF: usize = 8;

/// What firmware gives where the maker filled in nothing: many machines have it in common.
const PLACEHOLDERS: [&str; 14] = [
    "03000200-0400-0500-0006-000700080009",
    "default",
    "default string",
    "invalid",
    "n/a",
    "na",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "system serial number",
    "to be filled by o.e.m.",
    "uninitialized",
    "unknown",
];

/// Whether a number by which a machine is known, in lower case, means nothing, because its maker filled in
/// none: many machines have it in common.
#[must_use]
pub fn is_placeholder(text: &str) -> bool {
    // "00000000-0000-…", "ffffffff-ffff-…"
    let mut digits = text.chars().filter(char::is_ascii_alphanumeric);
    let Some(first) = digits.next() else { return true };
    let monotonous = matches!(first, '0' | 'f' | 'x') && digits.all(|digit| digit == first);
    monotonous || PLACEHOLDERS.contains(&text)
}

/// Whether two fingerprints may be one machine's: the hardware decides if both know theirs, else the
/// installed system if both know that; where nothing can be compared nothing speaks against it.
#[must_use]
pub fn same_machine(a: &Id, b: &Id) -> bool {
    let halves = [(&a[..HALF], &b[..HALF]), (&a[HALF..], &b[HALF..])];
    halves.into_iter().find(|(a, b)| is_known(a) && is_known(b)).is_none_or(|(a, b)| a == b)
}

/// What is known of a machine once one that is the same told its fingerprint: a half that was not known
/// is learned, and the installed system follows the hardware when it is installed anew.
#[must_use]
pub fn learn(known: &Id, told: &Id) -> Id {
    let mut learned = *known;
    for half in [0..HALF, HALF..2 * HALF] {
        if is_known(&told[half.clone()]) {
            learned[half.clone()].copy_from_slice(&told[half]);
        }
    }
    learned
}

/// A fingerprint of its two halves.
#[must_use]
pub fn fingerprint(hardware: [u8; 8], system: [u8; 8]) -> Id {
    let mut id = Id::default();
    id[..HALF].copy_from_slice(&hardware);
    id[HALF..].copy_from_slice(&system);
    id
}

fn is_known(half: &[u8]) -> bool {
    half.iter().any(|byte| *byte != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makers_left_unfilled_is_no_number() {
        for none in ["", " ", "00000000-0000-0000-0000-000000000000", "ffffffff", "to be filled by o.e.m.", "0"] {
            assert!(is_placeholder(none), "{none:?}");
        }
        for number in ["4c4c4544-0042-3610-8056-b4c04f4e4d32", "ff0", "1", "0123456789"] {
            assert!(!is_placeholder(number), "{number}");
        }
    }

    fn of(hardware: u8, system: u8) -> Id {
        fingerprint([hardware; 8], [system; 8])
    }

    #[test]
    fn hardware_decides_then_the_system_then_nothing_speaks_against_it() {
        for (a, b, same) in [
            ((1, 1), (1, 1), true),
            // Installed anew, or a node without a disk after a reboot.
            ((1, 1), (1, 2), true),
            // A cloned disk in another machine.
            ((1, 1), (2, 1), false),
            // The agent ran as a user who may not read the hardware's numbers, then as root.
            ((0, 1), (1, 1), true),
            ((0, 1), (1, 2), false),
            ((0, 1), (0, 1), true),
            ((0, 1), (0, 2), false),
            // A container without a machine id.
            ((1, 1), (1, 0), true),
            ((1, 1), (2, 0), false),
            ((1, 0), (0, 1), true),
            ((1, 1), (0, 0), true),
            ((0, 0), (0, 0), true),
        ] {
            let (a, b) = (of(a.0, a.1), of(b.0, b.1));
            assert_eq!((same_machine(&a, &b), same_machine(&b, &a)), (same, same), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_known_half_is_never_forgotten() {
        for (known, told, learned) in [
            ((0, 1), (1, 1), (1, 1)),
            ((1, 1), (0, 1), (1, 1)),
            ((1, 1), (1, 0), (1, 1)),
            ((1, 1), (1, 2), (1, 2)),
            ((0, 0), (3, 4), (3, 4)),
            ((3, 4), (0, 0), (3, 4)),
        ] {
            assert_eq!(learn(&of(known.0, known.1), &of(told.0, told.1)), of(learned.0, learned.1));
        }
    }
}
