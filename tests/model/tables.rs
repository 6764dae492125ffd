//! Values by small numbers: equal values get the same one, so that a state of the world is a few
//! bytes, is compared exactly, and what a pure function makes of it is worked out once.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

/// A value's number in its table.
pub(crate) type Number = u32;

/// A map keyed by what this program made itself: nobody picks keys that collide.
pub(crate) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// Numbered values.
pub(crate) struct Table<T> {
    numbers: HashMap<Rc<T>, Number>,
    values: Vec<Rc<T>>,
}

impl<T: Hash + Eq> Table<T> {
    pub(crate) fn new() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }

    /// The value's number, and whether it is new.
    pub(crate) fn number(&mut self, value: T) -> (Number, bool) {
        if let Some(number) = self.numbers.get(&value) {
            return (*number, false);
        }
        let number = Number::try_from(self.values.len()).expect("fewer values than numbers");
        let value = Rc::new(value);
        self.numbers.insert(Rc::clone(&value), number);
        self.values.push(value);
        (number, true)
    }

    pub(crate) fn get(&self, number: Number) -> Rc<T> {
        Rc::clone(&self.values[number as usize])
    }
}

/// Multiply and rotate, word by word: quick, and good enough for keys without an adversary.
#[derive(Default)]
pub(crate) struct FastHasher(u64);

impl Hasher for FastHasher {
    fn finish(&self) -> u64 {
        (self.0 ^ (self.0 >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
