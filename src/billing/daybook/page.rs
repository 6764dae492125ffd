//! One owner's page of a day: what was billed of it in each slot, before labels and prices.
//!
//! A page has two texts: one for the owner as a whole, and one that divides each of its slots by scope. Who does
//! not ask for scopes reads the first alone. Numbers are a length and so many bytes, little-endian; signed ones
//! are folded (0, -1, 1, -2, …).

use meter::{ByQuality, Doubts, Energy, Methods, SLOT_NS, Scope, Slot};

/// Slots of a UTC day.
pub const DAY_SLOTS: i32 = 96;
/// The length of a slot, which most slots cover whole.
const WHOLE_NS: u64 = SLOT_NS.unsigned_abs();

/// In a slot's head, beside a bit for each quality that is not zero: covered whole,
const WHOLE: u8 = 1 << 3;
/// billed at a meter,
const METERED: u8 = 1 << 4;
/// with lines, even if of no energy,
const LINES: u8 = 1 << 5;
/// by the methods and with the doubts of the slot before, and nothing by ratio,
const ALIKE: u8 = 1 << 6;
/// the slot after the one before.
const NEXT: u8 = 1 << 7;

/// The part that no component explains, in a slot's set of scopes.
const UNATTRIBUTED: u16 = 1 << 15;

/// What was billed of an owner in one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The slot.
    pub slot: Slot,
    /// Whether it is billed at an outermost meter.
    pub metered: bool,
    /// Whether there were lines at all.
    pub has_lines: bool,
    /// For how long there were readings at the boundary, in nanoseconds.
    pub covered_ns: u64,
    /// For how long it was billed by ratio, in nanoseconds.
    pub ratio_ns: u64,
    /// By which methods.
    pub methods: Methods,
    /// What people should look at.
    pub doubts: Doubts,
    /// All energy.
    pub energy: ByQuality,
}

/// A part of a slot's energy: a scope, or what no component explains.
pub type Part = (Option<Scope>, ByQuality);

/// Writes a page, slot by slot in order.
#[derive(Clone, Debug, Default)]
pub struct PageWriter {
    day: i32,
    text: Vec<u8>,
    scopes: Vec<u8>,
    last: Option<(i32, Methods, Doubts)>,
}

/// The texts of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The owner as a whole.
    pub text: Vec<u8>,
    /// Its slots by scope.
    pub scopes: Vec<u8>,
}

impl PageWriter {
    /// An empty page of a UTC day since the Unix epoch.
    #[must_use]
    pub fn new(day: i32) -> Self {
        Self { day, ..Self::default() }
    }

    /// Adds a slot; those of other days are left out. `parts` add up to its energy, each scope at most once, in the order of scopes.
    pub fn add(&mut self, entry: &Entry, parts: &[Part]) {
        let place = entry.slot.0 - self.day * DAY_SLOTS;
        if !(0..DAY_SLOTS).contains(&place) {
            return;
        }
        let mut head = qualities(&entry.energy);
        let is_alike = self.last.is_some_and(|(_, methods, doubts)| (methods, doubts) == (entry.methods, entry.doubts));
        let is_alike = is_alike && entry.ratio_ns == 0;
        let is_next = self.last.is_some_and(|(before, ..)| before + 1 == place);
        let flags = [
            (entry.covered_ns == WHOLE_NS, WHOLE),
            (entry.metered, METERED),
            (entry.has_lines, LINES),
            (is_alike, ALIKE),
            (is_next, NEXT),
        ];
        flags.into_iter().filter(|(is_up, _)| *is_up).for_each(|(_, flag)| head |= flag);
        self.text.push(head);
        if !is_next {
            self.text.push(u8::try_from(place).unwrap_or(u8::MAX));
        }
        if !is_alike {
            self.text.extend([entry.methods.bits(), entry.doubts.bits()]);
            put(&mut self.text, entry.ratio_ns.into());
        }
        if entry.covered_ns != WHOLE_NS {
            put(&mut self.text, entry.covered_ns.into());
        }
        put_energies(&mut self.text, &entry.energy);
        self.last = Some((place, entry.methods, entry.doubts));
        self.divide(parts);
    }

    /// The last part is what the others leave of the whole.
    fn divide(&mut self, parts: &[Part]) {
        let set = parts.iter().fold(0, |set, (scope, _)| set | bit(*scope));
        self.scopes.extend(set.to_le_bytes());
        for (_, energy) in parts.iter().take(parts.len().saturating_sub(1)) {
            self.scopes.push(qualities(energy));
            put_energies(&mut self.scopes, energy);
        }
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> Page {
        Page { text: self.text, scopes: self.scopes }
    }
}

/// What a page says, read whole before any of it is used.
#[derive(Debug, Default)]
pub struct Reading {
    /// Slot by slot.
    pub entries: Vec<Entry>,
    /// The parts of each slot, and where they end; only if scopes were asked for.
    pub parts: Vec<Part>,
    ends: Vec<usize>,
}

impl Reading {
    /// Reads a page of a day, with its scopes if they are given. False if it is not what was written; then nothing
    /// of it may be used.
    pub fn read(&mut self, day: i32, text: &[u8], scopes: Option<&[u8]>) -> bool {
        self.clear();
        self.read_entries(day, text).is_some() && scopes.is_none_or(|scopes| self.read_divisions(scopes).is_some())
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.parts.clear();
        self.ends.clear();
    }

    fn read_entries(&mut self, day: i32, text: &[u8]) -> Option<()> {
        let mut bytes = Bytes(text);
        let mut last = Entry { slot: Slot(day * DAY_SLOTS - 1), ..Entry::default() };
        while !bytes.0.is_empty() {
            let head = bytes.byte()?;
            let is = |flag: u8| head & flag != 0;
            let slot = if is(NEXT) { last.slot.next() } else { Slot(day * DAY_SLOTS + i32::from(bytes.byte()?)) };
            let (methods, doubts, ratio_ns) = if is(ALIKE) {
                (last.methods, last.doubts, 0)
            } else {
                let (methods, doubts) = (Methods::from_bits(bytes.byte()?), Doubts::from_bits(bytes.byte()?));
                (methods, doubts, u64::try_from(bytes.number()?).ok()?)
            };
            let covered_ns = if is(WHOLE) { WHOLE_NS } else { u64::try_from(bytes.number()?).ok()? };
            let energy = bytes.energies(head)?;
            let (metered, has_lines) = (is(METERED), is(LINES));
            let entry = Entry { slot, metered, has_lines, covered_ns, ratio_ns, methods, doubts, energy };
            if slot <= last.slot || slot.0 >= (day + 1) * DAY_SLOTS {
                return None;
            }
            last = entry.clone();
            self.entries.push(entry);
        }
        Some(())
    }

    fn read_divisions(&mut self, scopes: &[u8]) -> Option<()> {
        let mut bytes = Bytes(scopes);
        for entry in &self.entries {
            let set = u16::from_le_bytes([bytes.byte()?, bytes.byte()?]);
            let mut rest = entry.energy;
            let named = Scope::ALL.into_iter().map(Some).chain([None]);
            let mut left = set.count_ones();
            for scope in named.filter(|scope| set & bit(*scope) != 0) {
                left -= 1;
                let energy = if left == 0 {
                    rest
                } else {
                    let head = bytes.byte()?;
                    bytes.energies(head)?
                };
                rest -= energy;
                self.parts.push((scope, energy));
            }
            if left != 0 {
                return None;
            }
            self.ends.push(self.parts.len());
        }
        bytes.0.is_empty().then_some(())
    }

    /// Whether it was read with scopes.
    #[must_use]
    pub fn is_divided(&self) -> bool {
        self.ends.len() == self.entries.len() && !self.ends.is_empty()
    }

    /// The parts of the slot of that number.
    #[must_use]
    pub fn parts_of(&self, number: usize) -> &[Part] {
        let from = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(number).and_then(|&end| self.parts.get(from..end)).unwrap_or(&[])
    }
}

fn bit(scope: Option<Scope>) -> u16 {
    scope.map_or(UNATTRIBUTED, |scope| 1 << scope as u16)
}

fn qualities(energy: &ByQuality) -> u8 {
    let is_there = |(place, energy): (usize, &Energy)| u8::from(*energy != Energy::ZERO) << place;
    energy.0.iter().enumerate().map(is_there).sum()
}

fn put_energies(text: &mut Vec<u8>, energy: &ByQuality) {
    for Energy(amount) in energy.0.iter().filter(|energy| **energy != Energy::ZERO) {
        put(text, (amount << 1 ^ amount >> 127).cast_unsigned());
    }
}

fn put(text: &mut Vec<u8>, number: u128) {
    let length = (128 - number.leading_zeros()).div_ceil(8);
    text.push(length as u8);
    text.extend(number.to_le_bytes().into_iter().take(length as usize));
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u128> {
        let length = usize::from(self.byte()?);
        if length > 16 {
            return None;
        }
        let number = match self.0.first_chunk::<16>() {
            // All at once, and what belongs to others cut off.
            Some(bytes) if length > 0 => u128::from_le_bytes(*bytes) & (u128::MAX >> (128 - 8 * length)),
            _ => {
                let mut bytes = [0; 16];
                bytes[..length].copy_from_slice(self.0.get(..length)?);
                u128::from_le_bytes(bytes)
            }
        };
        self.0 = &self.0[length..];
        Some(number)
    }

    fn energies(&mut self, head: u8) -> Option<ByQuality> {
        let mut energy = ByQuality::default();
        for place in (0..energy.0.len()).filter(|place| head & 1 << place != 0) {
            let folded = self.number()?;
            energy.0[place] = Energy((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed());
        }
        Some(energy)
    }
}

#[cfg(test)]
mod tests {
    use meter::{Doubt, Method};

    use super::*;

    fn of(parts: [i128; 3]) -> ByQuality {
        ByQuality(parts.map(Energy))
    }

    fn entries() -> Vec<(Entry, Vec<Part>)> {
        let (mut methods, mut doubts) = (Methods::NONE, Doubts::NONE);
        methods.insert(Method::Meter);
        doubts.insert(Doubt::MeterBelowComponents);
        let plain = Entry {
            slot: Slot(960),
            metered: true,
            has_lines: true,
            covered_ns: WHOLE_NS,
            methods,
            energy: of([9_000_000_000_000_000_001, 0, -1]),
            ..Entry::default()
        };
        let mut rest = plain.energy;
        rest -= of([2, 5, 0]);
        rest -= of([i64::MAX.into(), 0, 0]);
        let parts =
            vec![(Some(Scope::Cpu), of([2, 5, 0])), (Some(Scope::Gpu), of([i64::MAX.into(), 0, 0])), (None, rest)];
        let at = |slot| Entry { slot: Slot(slot), ..plain.clone() };
        vec![
            (plain.clone(), parts.clone()),
            (at(961), parts[..1].iter().map(|_| (None, plain.energy)).collect()),
            (Entry { ratio_ns: 7, ..at(962) }, parts),
            (Entry { doubts, covered_ns: 3, ..at(970) }, vec![(Some(Scope::Other), plain.energy)]),
            (Entry { energy: of([i128::MAX, i128::MIN, 1]), has_lines: false, ..at(1055) }, vec![]),
        ]
    }

    fn page() -> Page {
        let mut writer = PageWriter::new(10);
        entries().iter().for_each(|(entry, parts)| writer.add(entry, parts));
        writer.finish()
    }

    #[test]
    fn a_page_reads_back() {
        let (page, mut reading) = (page(), Reading::default());
        assert!(reading.read(10, &page.text, Some(&page.scopes)));
        for (number, (entry, parts)) in entries().into_iter().enumerate() {
            assert_eq!(reading.entries[number], entry);
            assert_eq!(reading.parts_of(number), parts, "{number}");
        }
        assert!(reading.read(10, &page.text, None) && reading.parts_of(0).is_empty());
    }

    #[test]
    fn a_cut_page_is_refused_and_never_a_panic() {
        let (page, mut reading) = (page(), Reading::default());
        let whole = entries().len();
        for cut in 0..page.text.len() {
            let is_read = reading.read(10, &page.text[..cut], None);
            assert!(!is_read || reading.entries.len() < whole, "cut at {cut}");
        }
        for cut in 0..page.scopes.len() {
            assert!(!reading.read(10, &page.text, Some(&page.scopes[..cut])), "cut at {cut}");
        }
        assert!(!reading.read(10, &page.text, Some(&[&page.scopes[..], &[0]].concat())));
    }

    #[test]
    fn a_slot_as_usual_takes_ten_bytes() {
        let mut writer = PageWriter::new(0);
        let (usual, _) = entries().remove(0);
        let entry = |slot| Entry { slot: Slot(slot), energy: of([4_500_000_000_000_000_000, 0, 0]), ..usual.clone() };
        writer.add(&entry(0), &[]);
        let before = writer.text.len();
        writer.add(&entry(1), &[]);
        writer.add(&entry(96), &[]);
        assert_eq!(writer.text.len() - before, 10);
    }
}
