//! Spans of coalesced readings: booked wholly, fenced wholly, or left to what their ends alone prove.
//!
//! A span says how much energy there was between two readings, and no more how it lay in between. Where
//! only a part of its time is uncovered no share of it is booked, because the share would be a guess:
//! its end readings are applied as any readings are, so that a counter's difference is still exact
//! and power leaves a hole that says so.

use meter::{ByQuality, Mutant, Quality, Refusal, mutant};

use crate::account::{Applied, Desk, closing, is_between_counts, is_known};
use crate::integrator::{Joint, elapsed_ns, join};
use crate::profile::Profile;
use crate::{Account, Cell, Edge, Hole};

/// Time between two readings, and what all readings in between came to.
pub(crate) struct Piece {
    pub(crate) from: Edge,
    pub(crate) to: Edge,
    pub(crate) energy: ByQuality,
    /// How many readings there were, both ends included.
    pub(crate) readings: u64,
}

impl Piece {
    /// How far apart the readings were.
    fn step_ns(&self) -> u64 {
        elapsed_ns(&self.from, &self.to) / self.readings.saturating_sub(1).max(1)
    }
}

impl Account {
    /// Applies a span of coalesced readings.
    pub(crate) fn apply_span(&mut self, piece: &Piece, desk: &mut Desk<'_>) -> Applied {
        if piece.to.at <= piece.from.at {
            return self.apply(piece.from, desk);
        }
        self.show(piece.to.at, piece.to.power);
        if self.is_unread() {
            return self.append_span(piece, desk);
        }
        // By its own clock it lies elsewhere than by its date: its ends tell what of it is new.
        if is_known(&piece.from, &self.frontier, &self.first) || is_known(&piece.to, &self.frontier, &self.first) {
            return self.apply_ends(piece, desk);
        }
        if piece.from.at >= self.frontier.at {
            return self.append_span(piece, desk);
        }
        if piece.to.at <= self.first.at {
            return self.prepend_span(piece, desk);
        }
        let holes = self.rare().map_or(&[][..], |rare| &rare.holes);
        let index = holes.partition_point(|hole| hole.end.at <= piece.from.at);
        match holes.get(index).copied() {
            Some(hole)
                if hole.start.at <= piece.from.at
                    && piece.to.at <= hole.end.at
                    && (hole.start.at >= piece.from.at || hole.holds(&piece.from))
                    && (piece.to.at >= hole.end.at || hole.holds(&piece.to)) =>
            {
                self.fill_span(index, hole, piece, desk)
            }
            touched
                if piece.from.at >= self.first.at
                    && piece.to.at <= self.frontier.at
                    && touched.is_none_or(|hole| hole.start.at >= piece.to.at) =>
            {
                self.rare_mut().fenced += piece.energy.measured();
                Applied::Fenced
            }
            _ => self.apply_ends(piece, desk),
        }
    }

    /// A span that begins at or beyond the frontier.
    fn append_span(&mut self, piece: &Piece, desk: &mut Desk<'_>) -> Applied {
        let known = self.frontier;
        match self.apply(piece.from, desk) {
            // A counter that jumped, and went on counting from there: it was set anew.
            Applied::Refused(Refusal::CounterJump) if piece.to.counter.is_some() => {
                self.open_hole(known, piece.from, true, desk);
                self.frontier = piece.from;
            }
            refused @ Applied::Refused(_) => return refused,
            _ => {}
        }
        if self.frontier.at < piece.from.at {
            // Power that was only shown, because the counter before it books. If the counter came back
            // within the span, or still may, it bridges all of this; else power has to count from here.
            let is_near = elapsed_ns(&known, &piece.to) <= desk.rules.join_limit_ns;
            if is_near || matches!(join(&known, &piece.to, desk.rules), Joint::Counter(_)) {
                return self.apply(piece.to, desk);
            }
            self.open_hole(known, piece.from, false, desk);
            self.frontier = piece.from;
        }
        self.book_span(piece, desk);
        self.frontier = piece.to;
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.suspect = None;
        }
        Applied::Booked
    }

    /// A span before all other readings.
    fn prepend_span(&mut self, piece: &Piece, desk: &mut Desk<'_>) -> Applied {
        if let refused @ Applied::Refused(_) = self.apply(piece.to, desk) {
            return refused;
        }
        self.book_span(piece, desk);
        self.first = piece.from;
        Applied::Booked
    }

    /// A span within one hole: what it covers is booked, what is left on either side is joined or stays
    /// a hole.
    fn fill_span(&mut self, index: usize, hole: Hole, piece: &Piece, desk: &mut Desk<'_>) -> Applied {
        // As for readings one by one: power next to a counter that may come back is not joined to it.
        let shown = is_between_counts(&hole.start, &piece.from, desk.rules);
        if shown && (is_between_counts(&hole.start, &piece.to, desk.rules) || piece.to.counter.is_some()) {
            return self.apply_ends(piece, desk);
        }
        let before = if shown { Joint::Hole { broken: false } } else { join(&hole.start, &piece.from, desk.rules) };
        let sides = [
            (hole.start, piece.from, before),
            (piece.to, hole.end, closing(&piece.to, &hole.end, piece.step_ns(), desk)),
        ];
        let sides = sides.into_iter().filter(|(from, to, _)| from.at < to.at);
        if sides.clone().any(|(.., joint)| joint == Joint::Jump) {
            return Applied::Refused(Refusal::CounterJump);
        }
        self.reverse(&hole, piece.from.at, piece.to.at, desk);
        self.book_span(piece, desk);
        let mut rest = Vec::with_capacity(2);
        for (from, to, joint) in sides {
            match joint {
                Joint::Counter(energy) => self.replace(&hole, (&from, &to), Quality::Counter, energy, desk),
                Joint::Power(energy) => self.replace(&hole, (&from, &to), Quality::Integrated, energy, desk),
                Joint::Hole { broken } => rest.push(self.remains(&hole, from, to, broken, desk)),
                Joint::Jump => {}
            }
        }
        self.rare_mut().holes.splice(index..=index, rest);
        self.limit_holes(desk.policy.holes);
        Applied::Booked
    }

    /// A span of which only a part is uncovered.
    fn apply_ends(&mut self, piece: &Piece, desk: &mut Desk<'_>) -> Applied {
        if mutant(Mutant::BookPartlyCovered) {
            self.book_span(piece, desk);
            return Applied::Booked;
        }
        match (self.apply(piece.from, desk), self.apply(piece.to, desk)) {
            (Applied::Booked, _) | (_, Applied::Booked) => Applied::Booked,
            (_, last) => last,
        }
    }

    /// Books a span's energy evenly over its time.
    fn book_span(&mut self, piece: &Piece, desk: &mut Desk<'_>) {
        self.lifetime += piece.energy;
        self.covered_ns += piece.to.at.since(piece.from.at);
        for quality in [Quality::Counter, Quality::Integrated] {
            let profile = Profile::even(piece.from.at, piece.to.at, piece.energy[quality]);
            // Time is covered once, whatever it was measured by.
            let covers = u64::from(quality == Quality::Integrated);
            desk.spread(&profile, piece.from.at, piece.to.at, |energy, touched| {
                Cell::of(quality, energy, touched * covers)
            });
        }
    }
}
