//! What hardware says of itself: labels `hw.*`, read into facts that can be compared.
//!
//! Agents send them like other labels. Two machines are never compared by text: a BMC writes a UUID or
//! a serial number in another way than the system on its board does.

use std::collections::BTreeMap;
use std::sync::Arc;

use energy::{LabelsSince, OwnerState};
use meter::{Id, Labels, Owner, Scope, Utc, machine};

/// What an owner's row says of it, apart from energy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its facts with the instant from which they hold; ascending. There is at least one.
    facts: Vec<(Utc, Arc<Facts>)>,
    /// The machine that reports itself under the name.
    pub machine: Option<Id>,
    /// Whether it has an outer meter of its own: an account of scope `chassis`.
    pub meters: bool,
}

/// What one set of labels says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `hw.uuid`: the SMBIOS system UUID.
    pub uuid: Told<Uuid>,
    /// `hw.serial`: the system's serial number, in lower case.
    pub serial: Told<Arc<str>>,
    /// `hw.host`: the host that the agent's configuration says this is the BMC of.
    pub host: Option<Arc<str>>,
    /// `hw.enclosure`: the chassis owner of the enclosure that it sits in.
    pub enclosure: Option<Arc<str>>,
    /// Where it stands: the labels [`PLACE`], as far as it gives them.
    pub place: Labels,
}

/// Labels of a chassis that hold for the hosts in it, too: it tells where it stands.
pub const PLACE: [&str; 2] = ["rack", "row"];

/// A number that tells machines apart, if it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told<T> {
    /// Nothing was said.
    #[default]
    No,
    /// The maker filled in nothing: machines have the text in common.
    Placeholder,
    /// This.
    This(T),
}

/// A system UUID in both byte orders at once.
///
/// SMBIOS stores the first three fields little-endian (DSP0134 §7.2.1: `00112233-4455-6677-8899-…` is
/// stored as the bytes 33 22 11 00 55 44 77 66 88 99 …). Some firmware prints the stored bytes as they
/// come, some turns them round; so a board and its BMC may differ by just that. Equal here is what is
/// equal in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid([u8; 16]);

/// UUIDs that many boards have in common, besides those of a single digit.
const COMMON_UUIDS: [&str; 3] = [
    "03000200-0400-0500-0006-000700080009",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "00010203-0405-0607-0809-0a0b0c0d0e0f",
];

impl Uuid {
    /// Reads a UUID: 32 hexadecimal digits, with or without dashes, braces or `urn:uuid:`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim().trim_start_matches("urn:uuid:").trim_matches(['{', '}']);
        let digits: Option<Vec<u8>> = text.bytes().filter(|byte| *byte != b'-').map(nibble).collect();
        let digits: [u8; 32] = digits?.try_into().ok()?;
        let as_printed: [u8; 16] = std::array::from_fn(|place| digits[2 * place] << 4 | digits[2 * place + 1]);
        let mut turned = as_printed;
        turned[..4].reverse();
        turned[4..6].reverse();
        turned[6..8].reverse();
        Some(Self(as_printed.min(turned)))
    }

    fn is_common(self) -> bool {
        COMMON_UUIDS.into_iter().any(|common| Self::read(common) == Some(self))
    }
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl Said {
    /// What a row says.
    #[must_use]
    pub fn of(state: &OwnerState) -> Self {
        let mut facts: Vec<(Utc, Arc<Facts>)> = Vec::with_capacity(1);
        for LabelsSince { from, labels } in &state.labels {
            let said = Facts::of(labels);
            if facts.last().is_none_or(|(_, before)| **before != said) {
                facts.push((*from, said.into()));
            }
        }
        if facts.is_empty() {
            facts.push((Utc(i64::MIN), Arc::default()));
        }
        let meters = state.keys.iter().any(|key| key.scope == Scope::Chassis);
        Self { facts, machine: state.fingerprint, meters }
    }

    /// Whether two rows of one owner may say different things: cheap, for every row of every commit.
    #[must_use]
    pub fn may_differ(before: &OwnerState, after: &OwnerState) -> bool {
        let same_labels = |(a, b): (&LabelsSince, &LabelsSince)| a.from == b.from && Arc::ptr_eq(&a.labels, &b.labels);
        before.fingerprint != after.fingerprint
            || !Arc::ptr_eq(&before.keys, &after.keys)
            || before.labels.len() != after.labels.len()
            || !before.labels.iter().zip(&after.labels).all(same_labels)
    }

    /// What holds at an instant. Before the first facts those hold, as with labels.
    #[must_use]
    pub fn at(&self, at: Utc) -> &Facts {
        let index = self.facts.partition_point(|(from, _)| *from <= at).saturating_sub(1);
        &self.facts[index].1
    }

    /// When what it says changes; the first facts hold from the beginning.
    pub fn changes(&self) -> impl Iterator<Item = Utc> {
        self.facts.iter().skip(1).map(|(from, _)| *from)
    }

    /// When it first said something.
    #[must_use]
    pub fn since(&self) -> Utc {
        self.facts[0].0
    }

    /// All that it ever said.
    pub fn ever(&self) -> impl Iterator<Item = &Facts> {
        self.facts.iter().map(|(_, facts)| &**facts)
    }
}

impl Facts {
    fn of(labels: &Labels) -> Self {
        let of = |key: &str| labels.get(key).map(String::as_str).map(str::trim).filter(|value| !value.is_empty());
        Self {
            uuid: of("hw.uuid").map_or(Told::No, uuid),
            serial: of("hw.serial").map_or(Told::No, serial),
            host: of("hw.host").map(Arc::from),
            enclosure: of("hw.enclosure").map(Arc::from),
            place: PLACE.iter().filter_map(|key| Some(((*key).to_owned(), of(key)?.to_owned()))).collect(),
        }
    }

    /// Whether nothing was said by which it could be known.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.uuid == Told::No && self.serial == Told::No && self.host.is_none()
    }
}

impl<T> Told<T> {
    /// What was told, if it means something.
    pub const fn this(&self) -> Option<&T> {
        match self {
            Self::This(this) => Some(this),
            Self::No | Self::Placeholder => None,
        }
    }
}

fn uuid(text: &str) -> Told<Uuid> {
    match Uuid::read(text) {
        Some(uuid) if !machine::is_placeholder(&text.to_ascii_lowercase()) && !uuid.is_common() => Told::This(uuid),
        _ => Told::Placeholder,
    }
}

/// A serial number. `0123456789` and its kin are what makers leave in boards that they number nowhere.
fn serial(text: &str) -> Told<Arc<str>> {
    let lower = text.to_ascii_lowercase();
    let counts_up =
        lower.len() >= 4 && ("01234567890123456789".contains(&lower) || "1234567890abcdef".contains(&lower));
    let means_nothing = lower.len() < 3 || counts_up || machine::is_placeholder(&lower);
    if means_nothing { Told::Placeholder } else { Told::This(lower.into()) }
}

/// What all hosts and chassis of the ledger say of themselves, by partition; cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct Hardware(pub Vec<Arc<BTreeMap<Owner, Said>>>);

impl Hardware {
    /// What one owner says.
    #[must_use]
    pub fn get(&self, owner: &Owner) -> Option<&Said> {
        self.0.get(usize::from(owner.part()))?.get(owner)
    }

    /// Everybody, by partition and name.
    pub fn iter(&self) -> impl Iterator<Item = (&Owner, &Said)> {
        self.0.iter().flat_map(|part| part.iter())
    }

    /// Whether it is the same as another, not merely equal: nobody has said anything new since.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_the_same_in_the_byte_order_that_smbios_stores() {
        // The example of DSP0134 §7.2.1, worked by hand: as text, and its stored bytes as they come.
        let text = Uuid::read("00112233-4455-6677-8899-AABBCCDDEEFF").expect("a UUID");
        let stored = Uuid::read("33221100-5544-7766-8899-aabbccddeeff").expect("a UUID");
        assert_eq!(text, stored);
        // A Dell board: the service tag is in the last fields, which are never turned.
        let dell = Uuid::read("4c4c4544-0042-3610-8056-b4c04f4e4d32");
        assert_eq!(dell, Uuid::read("44454c4c-4200-1036-8056-b4c04f4e4d32"));
        assert_ne!(dell, Uuid::read("44454c4c-4200-1036-5680-b4c04f4e4d32"), "the fourth field is not turned");
        for same in ["{4C4C4544-0042-3610-8056-B4C04F4E4D32}", "urn:uuid:4c4c4544-0042-3610-8056-b4c04f4e4d32"] {
            assert_eq!(dell, Uuid::read(same), "{same}");
        }
        for none in ["", "4c4c4544", "4c4c4544-0042-3610-8056-b4c04f4e4d3", "not a uuid at all, but so long"] {
            assert_eq!(Uuid::read(none), None, "{none}");
        }
    }

    #[test]
    fn what_makers_left_unfilled_is_no_identity() {
        let told = |key: &str, value: &str| Facts::of(&Labels::from([(key.to_owned(), value.to_owned())]));
        for uuid in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
            // The same, in the other order.
            "00020003-0004-0005-0006-000700080009",
            "Not Settable",
        ] {
            assert_eq!(told("hw.uuid", uuid).uuid, Told::Placeholder, "{uuid}");
        }
        for number in
            ["0123456789", "123456789", "To be filled by O.E.M.", "Default string", "None", "0", "00000000", "N/A"]
        {
            assert_eq!(told("hw.serial", number).serial, Told::Placeholder, "{number}");
        }
        assert_eq!(told("hw.serial", " 7QB3X42 ").serial, Told::This("7qb3x42".into()));
        assert_eq!(told("hw.serial", "").serial, Told::No);
    }
}
