//! Readings of many owners from one program, as they come: for what makes readings rather than
//! reads them, such as the demonstration's fleet.

use std::sync::Arc;

use meter::{Context, Labels, Owner, Record, Sample, Utc};

use crate::link::Link;
use crate::outbox::{Lane, Outbox, Tally};
use crate::replay::{SendError, SendSettings, deliver};

/// A context with the id that its records name.
#[derive(Clone, Debug)]
pub struct Declared {
    context: Arc<Context>,
    id: u64,
}

impl Declared {
    /// Declares a context.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { id: wire::context_id(&context), context: Arc::new(context) }
    }
}

/// Streams of several owners to one aggregator, without a spool on disk.
#[derive(Debug)]
pub struct Feed {
    outbox: Outbox,
    link: Link,
}

impl Feed {
    /// Makes one stream per owner. The owners' places are their order.
    ///
    /// # Errors
    /// [`SendError`] if an address cannot be used.
    pub fn new(settings: &SendSettings, owners: Vec<(Owner, Labels)>) -> Result<Self, SendError> {
        let link = Link::new(&settings.servers, settings.timeout)?;
        let lanes =
            owners.into_iter().map(|(owner, labels)| Lane::recorded(owner, labels)).collect::<Result<_, _>>()?;
        Ok(Self { outbox: Outbox::new(lanes), link })
    }

    /// Adds what the owner at `place` read at an instant of UTC.
    pub fn append(&mut self, place: usize, declared: &Declared, at: Utc, samples: Vec<Sample>) {
        if let (Some(lane), Ok(at)) = (self.outbox.lane(place), u64::try_from(at.0)) {
            lane.append(&declared.context, &Record { context: declared.id, at, samples, ..Record::default() });
        }
    }

    /// Returns when the ledger has everything on disk.
    ///
    /// # Errors
    /// [`SendError`] if it cannot be reached or does not accept.
    pub async fn deliver(&mut self) -> Result<Tally, SendError> {
        deliver(&mut self.outbox, &mut self.link, 0, &mut |_, _| {}).await?;
        Ok(self.outbox.tally())
    }
}
