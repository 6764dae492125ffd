//! What an answer of the ledger means for a stream: decisions only, no clock, no socket, no file.
//!
//! The ledger's position decides where a stream goes on, never the agent's memory of what was
//! acknowledged: a ledger restored from a backup stands lower than what it acknowledged before, and
//! gets again what it lost. A position counts only with its digest. If the agent's own records up to
//! that number give another digest (a restored machine image, a lost or damaged spool, somebody else
//! with the same stream), the retained records go to a **new stream**, and the ledger's coverage of
//! time keeps them from being booked twice.

use meter::{Digest, Mutant, Position, mutant};
use wire::AppendAnswer;

/// How far a stream is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Where the ledger stands in this stream; nothing if it has to be asked.
    stands: Option<Position>,
    /// Up to where the ledger has it on disk.
    durable: u64,
    /// Whether the next append introduces itself.
    hello: bool,
    /// Answers since the stream last moved on.
    stalled: u32,
}

/// What to do after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything up to here is on disk: go on behind it.
    Durable(Position),
    /// Go on behind this position, which may lie before what was acknowledged.
    Resume(Position),
    /// Begin a new stream with all that is retained.
    Mint(Mismatch),
    /// Send the same again with an introduction.
    Introduce,
    /// Not accepted until somebody changes something: try again later.
    Rejected {
        /// The ledger's stable code.
        code: String,
        /// The ledger's words.
        detail: String,
    },
}

/// Why the ledger's position is not one of this stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The ledger has another record under this number.
    Differs(u64),
    /// The ledger stands where nothing is retained any more, or where nothing was ever recorded.
    Unknown(u64),
}

impl Delivery {
    /// A stream that no ledger has heard of.
    #[must_use]
    pub const fn fresh() -> Self {
        Self { stands: Some(Position { seq: 0, digest: [0; 16] }), durable: 0, hello: true, stalled: 0 }
    }

    /// A stream that was resumed: the ledger has to be asked where it stands.
    #[must_use]
    pub const fn resumed() -> Self {
        Self { stands: None, durable: 0, hello: true, stalled: 0 }
    }

    /// Where the ledger stands; nothing if it has to be asked.
    #[must_use]
    pub const fn stands(&self) -> Option<Position> {
        self.stands
    }

    /// Up to which number the ledger has the stream on disk, as far as is known.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether the next append introduces itself.
    #[must_use]
    pub const fn wants_hello(&self) -> bool {
        self.hello
    }

    /// Answers in a row that did not move the stream on: more than a few call for patience.
    #[must_use]
    pub const fn stalled(&self) -> u32 {
        self.stalled
    }

    /// Takes an answer. `introduced` tells whether the append it answers held a hello; `digest_at`
    /// gives the stream's own digest at a number, if it is still known.
    pub fn step(
        &mut self,
        answer: &AppendAnswer,
        introduced: bool,
        digest_at: impl FnOnce(u64) -> Option<Digest>,
    ) -> Step {
        self.stalled += 1;
        let (position, durable) = match answer {
            AppendAnswer::Durable { at, .. } => (*at, true),
            AppendAnswer::Stands(at) => (*at, false),
            AppendAnswer::SayHello => {
                self.hello = true;
                return Step::Introduce;
            }
            AppendAnswer::Rejected { code, detail } => {
                self.hello = true;
                return Step::Rejected { code: code.clone(), detail: detail.clone() };
            }
        };
        let own = if position.seq == 0 { Some([0; 16]) } else { digest_at(position.seq) };
        match own {
            Some(digest) if digest == position.digest || mutant(Mutant::IgnoreDigest) => {}
            Some(_) => return self.mint(Mismatch::Differs(position.seq)),
            None => return self.mint(Mismatch::Unknown(position.seq)),
        }
        if durable || !mutant(Mutant::ResumeFromAcknowledgement) || self.stands.is_none() {
            self.stands = Some(position);
        }
        self.hello &= !introduced;
        if durable {
            self.durable = position.seq;
            self.stalled = 0;
            return Step::Durable(position);
        }
        // Where the ledger stands need not be on disk yet, so it can only lower the mark.
        if !mutant(Mutant::KeepAcknowledgement) {
            self.durable = self.durable.min(position.seq);
        }
        Step::Resume(position)
    }

    /// The next append introduces itself: there is something new to say.
    pub const fn introduce(&mut self) {
        self.hello = true;
    }

    /// The stream's own records turned out to be others than thought: the ledger has to be asked.
    pub const fn ask(&mut self) {
        self.stands = None;
    }

    /// Whether the ledger has everything up to `head`, the last record there is, on disk.
    #[must_use]
    pub const fn is_delivered(&self, head: u64) -> bool {
        self.stands.is_some() && self.durable >= head
    }

    /// If the ledger stands in front of `start`, behind which the records are held, what it would need
    /// next was dropped: the rest becomes a new stream.
    pub fn reach(&mut self, start: u64) -> Option<Step> {
        let stands = self.stands.filter(|stands| stands.seq < start)?;
        Some(self.mint(Mismatch::Unknown(stands.seq)))
    }

    fn mint(&mut self, why: Mismatch) -> Step {
        *self = Self { stalled: self.stalled, ..Self::fresh() };
        Step::Mint(why)
    }
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Differs(seq) => write!(f, "the ledger knows another record {seq} of this stream"),
            Self::Unknown(seq) => write!(f, "the ledger stands at record {seq}, which is not in the spool"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [Digest; 4] = [[0; 16], [1; 16], [2; 16], [3; 16]];

    fn own(seq: u64) -> Option<Digest> {
        OWN.get(seq as usize).copied()
    }

    fn at(seq: u64) -> Position {
        Position { seq, digest: OWN[seq as usize] }
    }

    fn durable(position: Position) -> AppendAnswer {
        AppendAnswer::Durable { at: position, booked: 0, fenced: 0, refused: vec![] }
    }

    #[test]
    fn durable_moves_on_and_ends_the_introduction() {
        let mut delivery = Delivery::fresh();
        assert!(delivery.wants_hello());
        assert_eq!(delivery.step(&durable(at(3)), true, own), Step::Durable(at(3)));
        assert_eq!((delivery.stands(), delivery.durable(), delivery.wants_hello()), (Some(at(3)), 3, false));
    }

    #[test]
    fn a_lost_reply_resumes_behind_what_was_applied() {
        let mut delivery = Delivery::fresh();
        // The append was applied, its answer lost, the same append sent again:
        assert_eq!(delivery.step(&AppendAnswer::Stands(at(2)), true, own), Step::Resume(at(2)));
        assert_eq!(delivery.durable(), 0, "standing somewhere is no promise that it is on disk");
        assert_eq!(delivery.step(&durable(at(3)), false, own), Step::Durable(at(3)));
    }

    #[test]
    fn a_restored_ledger_lowers_the_mark() {
        let mut delivery = Delivery::fresh();
        let _ = delivery.step(&durable(at(3)), true, own);
        assert_eq!(delivery.step(&AppendAnswer::Stands(at(1)), false, own), Step::Resume(at(1)));
        assert_eq!((delivery.stands(), delivery.durable()), (Some(at(1)), 1));
        let _ = delivery.step(&durable(at(3)), false, own);
        assert_eq!(delivery.step(&durable(at(2)), false, own), Step::Durable(at(2)));
        assert_eq!(delivery.durable(), 2);
    }

    #[test]
    fn another_digest_or_an_unknown_number_begins_a_new_stream() {
        let foreign = Position { seq: 2, digest: [9; 16] };
        let ahead = Position { seq: 7, digest: [7; 16] };
        for (answer, why) in [
            (AppendAnswer::Stands(foreign), Mismatch::Differs(2)),
            (durable(foreign), Mismatch::Differs(2)),
            (AppendAnswer::Stands(ahead), Mismatch::Unknown(7)),
            (durable(ahead), Mismatch::Unknown(7)),
        ] {
            let mut delivery = Delivery::resumed();
            assert_eq!(delivery.step(&answer, false, own), Step::Mint(why));
            assert_eq!((delivery.stands(), delivery.durable()), (Some(Position::default()), 0));
            assert!(delivery.wants_hello());
        }
    }

    #[test]
    fn the_beginning_of_a_stream_needs_no_record() {
        let mut delivery = Delivery::resumed();
        assert_eq!(delivery.step(&AppendAnswer::Stands(at(0)), true, |_| None), Step::Resume(at(0)));
        let odd = Position { seq: 0, digest: [1; 16] };
        assert_eq!(delivery.step(&AppendAnswer::Stands(odd), true, |_| None), Step::Mint(Mismatch::Differs(0)));
    }

    #[test]
    fn asked_for_an_introduction_it_introduces_itself_until_it_moves() {
        let mut delivery = Delivery::fresh();
        let _ = delivery.step(&durable(at(1)), true, own);
        assert_eq!(delivery.step(&AppendAnswer::SayHello, false, own), Step::Introduce);
        assert!(delivery.wants_hello());
        assert_eq!((delivery.stands(), delivery.stalled()), (Some(at(1)), 1));
        let _ = delivery.step(&durable(at(2)), true, own);
        assert!(!delivery.wants_hello());
        assert_eq!(delivery.stalled(), 0);
    }

    #[test]
    fn what_was_dropped_before_it_was_delivered_begins_a_new_stream() {
        let mut delivery = Delivery::fresh();
        let _ = delivery.step(&durable(at(2)), true, own);
        assert_eq!(delivery.reach(2), None, "the next record is still there");
        assert!(delivery.is_delivered(2) && !delivery.is_delivered(3));
        assert_eq!(delivery.reach(3), Some(Step::Mint(Mismatch::Unknown(2))));
        assert_eq!((delivery.stands(), delivery.durable()), (Some(Position::default()), 0));
        let mut asking = Delivery::resumed();
        assert_eq!(asking.reach(3), None, "first the ledger is asked");
        assert!(!asking.is_delivered(0));
    }

    #[test]
    fn a_rejection_changes_no_position() {
        let mut delivery = Delivery::fresh();
        let _ = delivery.step(&durable(at(2)), true, own);
        let rejected = AppendAnswer::Rejected { code: "host-bound-elsewhere".into(), detail: "x".into() };
        assert!(matches!(delivery.step(&rejected, false, own), Step::Rejected { .. }));
        assert_eq!((delivery.stands(), delivery.durable()), (Some(at(2)), 2));
    }
}
