//! What a sampler keeps of each outlet of its source: who it feeds, and how its records are declared.

use std::sync::Arc;

use meter::{Clock, Context, Labels, Owner, Sample};

use crate::claims::FeederId;
use crate::clock;
use crate::intake::new_feeder;
use crate::reader::OutletView;

/// What a sampler keeps of one outlet.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(crate) owner: Owner,
    pub(crate) labels: Labels,
    pub(crate) feeder: FeederId,
    pub(crate) context: Option<(u64, Arc<Context>)>,
    /// Whether the spool knows it.
    pub(crate) introduced: bool,
    /// Whether the owner was heard of since the last probe.
    pub(crate) known: bool,
}

/// Samples as a message can hold them: of declared devices, ascending, one each; and how many are not so, which is a
/// fault of the source.
pub(crate) fn orderly(samples: &[Sample], devices: usize) -> (Vec<Sample>, u64) {
    let mut orderly: Vec<Sample> = Vec::with_capacity(samples.len());
    for sample in samples {
        let follows = orderly.last().is_none_or(|last| last.device < sample.device);
        if follows && usize::from(sample.device) < devices.min(wire::DEVICES_MAX) {
            orderly.push(*sample);
        }
    }
    let malformed = (samples.len() - orderly.len()) as u64;
    (orderly, malformed)
}

/// The tap of an outlet: whose labels or owner changed is to be introduced again.
pub(crate) fn of<'a>(taps: &'a mut Vec<Tap>, place: usize, outlet: &OutletView<'_>) -> &'a mut Tap {
    let is_same = |tap: &Tap| tap.owner == *outlet.owner && outlet.labels.is_none_or(|labels| tap.labels == *labels);
    let labels = || outlet.labels.cloned().unwrap_or_default();
    if place >= taps.len() {
        let (owner, labels, feeder) = (outlet.owner.clone(), labels(), new_feeder());
        taps.push(Tap { owner, labels, feeder, context: None, introduced: false, known: false });
    } else if !is_same(&taps[place]) {
        let tap = &mut taps[place];
        (tap.owner, tap.labels) = (outlet.owner.clone(), labels());
        (tap.introduced, tap.known) = (false, false);
    }
    let last = taps.len() - 1;
    &mut taps[place.min(last)]
}

impl Tap {
    /// The context in force; a new one when the source declares its devices differently, or the clock was
    /// set back.
    pub(crate) fn context(&mut self, clock: Clock, outlet: &OutletView<'_>) -> (u64, Arc<Context>) {
        // More than a message can hold are counted as malformed.
        let devices = &outlet.devices[..outlet.devices.len().min(wire::DEVICES_MAX)];
        match &self.context {
            Some((id, context)) if context.clock == clock && context.devices == devices => (*id, Arc::clone(context)),
            _ => {
                let devices = devices.to_vec();
                let context = Arc::new(Context { clock, wall_offset_ns: clock::wall_offset_ns(), devices });
                let id = wire::context_id(&context);
                self.context = Some((id, Arc::clone(&context)));
                (id, context)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_message_can_hold_is_left_out_and_counted() {
        let sample = |device| Sample { device, ..Sample::default() };
        let (kept, malformed) = orderly(&[0, 2, 2, 1, 3, 4].map(sample), 4);
        assert_eq!((kept, malformed), ([0, 2, 3].map(sample).to_vec(), 3));
    }
}
