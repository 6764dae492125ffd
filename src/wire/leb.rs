//! LEB128 numbers and the cursor that reads them.

use crate::WireError;

/// Appends a number, seven bits a byte, lowest first.
pub(crate) fn put(mut number: u64, into: &mut Vec<u8>) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Small magnitudes of either sign become small numbers: 0, -1, 1, -2, …
pub(crate) const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// Reads from a slice, front to back; every method fails rather than read beyond its end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Fails if anything is left.
    pub(crate) const fn finish(&self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::LeftOver(self.rest.len())) }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, WireError> {
        let (&first, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(first)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A number in its one shortest form.
    pub(crate) fn number(&mut self) -> Result<u64, WireError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(WireError::Malformed("a number beyond 64 bits"));
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return if byte == 0 { Err(WireError::Malformed("a number with idle bytes")) } else { Ok(number) };
            }
        }
        Err(WireError::Malformed("a number beyond 64 bits"))
    }

    /// A signed number.
    pub(crate) fn signed(&mut self) -> Result<i64, WireError> {
        self.number().map(unzigzag)
    }

    /// A count that may not exceed `max`.
    pub(crate) fn count(&mut self, what: &'static str, max: usize) -> Result<usize, WireError> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        WireError::cap(what, count, max)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<u64, WireError> {
        let mut reader = Reader::new(bytes);
        let number = reader.number()?;
        reader.finish().map(|()| number)
    }

    #[test]
    fn numbers_are_those_of_the_dwarf_and_webassembly_standards() {
        // 624485 is the example of the DWARF standard and of Wikipedia.
        for (number, bytes) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            put(number, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes), Ok(number));
        }
    }

    #[test]
    fn only_the_shortest_form_is_a_number() {
        assert!(read(&[0x80, 0]).is_err(), "an idle byte");
        assert!(read(&[255, 255, 255, 255, 255, 255, 255, 255, 255, 2]).is_err(), "65 bits");
        assert!(read(&[0xff; 11]).is_err() && read(&[0x80]).is_err() && read(&[]).is_err());
    }

    #[test]
    fn zigzag_orders_by_magnitude() {
        for (signed, number) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i64::MAX, u64::MAX - 1), (i64::MIN, u64::MAX)] {
            assert_eq!((zigzag(signed), unzigzag(number)), (number, signed));
        }
    }
}
