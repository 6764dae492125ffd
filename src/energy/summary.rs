//! Records that are no looks: what a spool coalesced, and the present of a stream that lags.

use std::sync::Arc;

use meter::{ByQuality, Clock, Quality, Reading, Record, Refusal, Span, Summary, Utc};

use crate::account::{Applied, Desk};
use crate::batch::RunDesk;
use crate::integrator;
use crate::owner::count_refused;
use crate::policy::Rules;
use crate::span::Piece;
use crate::{Count, Edge, KnownDevice, OwnerState, Sent, Tally};

impl OwnerState {
    /// Books what a spool coalesced.
    pub(crate) fn book_summary(&mut self, summary: &Summary, desk: &RunDesk<'_>, tally: &mut Tally) {
        for (place, reason, count) in &summary.refused {
            let Some(device) = desk.context.devices.get(usize::from(*place)) else {
                count_refused(&mut self.refused, Refusal::Malformed, *count);
                continue;
            };
            self.readings += count;
            self.refuse_many(device, *reason, *count, tally);
        }
        for span in &summary.spans {
            let place = usize::from(span.device);
            let (Some(device), Some(rules)) = (desk.context.devices.get(place), desk.rules.get(place)) else {
                count_refused(&mut self.refused, Refusal::Malformed, span.readings);
                continue;
            };
            self.readings += span.readings;
            let Some(span) = self.below_ceiling(span, device, rules, tally) else { continue };
            let piece = piece(&span, device, rules, desk);
            let applied = piece.and_then(|piece| {
                self.with_account(piece.to, device, rules, desk, |account, desk| {
                    account.apply_span(&piece, &mut Desk { open: &mut *desk.open, readers: None, ..*desk })
                })
            });
            match applied {
                Ok(Applied::Booked) => tally.booked += span.readings,
                Ok(Applied::Fenced) => tally.fenced += span.readings,
                Ok(Applied::Refused(reason)) | Err(reason) => {
                    self.refuse_many(device, reason, span.readings, tally);
                }
            }
        }
    }

    /// What is left of a span without powers that no such device can draw. Only readings that stand by
    /// themselves have them: an agent coalesces no other.
    fn below_ceiling(&mut self, span: &Span, device: &KnownDevice, rules: &Rules, tally: &mut Tally) -> Option<Span> {
        let is_above = |reading: &Reading| reading.power.is_some_and(|power| power > rules.ceiling);
        if !is_above(&span.from) && !is_above(&span.to) {
            return Some(*span);
        }
        self.refuse_many(device, Refusal::AboveCeiling, span.readings, tally);
        let only = Reading { power: None, ..span.from };
        (span.from == span.to && only.counter.is_some()).then_some(Span { from: only, to: only, ..*span })
    }

    /// Shows the present of a stream that still brings its past. Nothing is booked.
    pub(crate) fn show(&mut self, live: &[Record], sent: Option<&Sent>, now: Utc) {
        let contexts = Arc::clone(&self.contexts);
        for record in live {
            let Some(context) = contexts.iter().find(|context| context.id == record.context) else { continue };
            let at = match (context.clock, sent) {
                (Clock::Boot(boot), Some(sent)) if sent.boot == boot => {
                    Utc(now.0.saturating_sub_unsigned(sent.boot_ns.saturating_sub(record.at)))
                }
                _ => continue,
            };
            for sample in &record.samples {
                let device = context.devices.get(usize::from(sample.device));
                let Some(&Ok(index)) = device.map(|device| &device.account) else { continue };
                self.accounts[usize::from(index)].show(at, sample.power);
            }
        }
    }
}

/// A span with its dates, if it can be one: no more energy than the device could have drawn.
fn piece(span: &Span, device: &KnownDevice, rules: &Rules, desk: &RunDesk<'_>) -> Result<Piece, Refusal> {
    let edge = |reading: &Reading| {
        let counter = reading.counter.map(|value| Count { value, epoch: device.epoch });
        Ok(Edge { power: reading.power, counter, ..desk.edge_at(reading.at)? })
    };
    let mut energy = ByQuality::of(Quality::Counter, span.counter);
    energy[Quality::Integrated] = span.integrated;
    let elapsed = span.to.at.saturating_sub(span.from.at);
    if energy.total() > integrator::most(rules, elapsed) {
        return Err(Refusal::AboveCeiling);
    }
    Ok(Piece { from: edge(&span.from)?, to: edge(&span.to)?, energy, readings: span.readings })
}
