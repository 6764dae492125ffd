//! That the checker can fail: rules broken one by one, each found by an invariant.
//!
//! Some rules stand beside a second one that does the same: breaking either alone does no harm, which
//! is checked, and breaking both does.

use crate::explorer::explore;
use crate::scenarios::{F1, F1_COALESCE, F2, F2_COALESCE, F3, F5, F7, F9, Scenario};
use crate::world::World;

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Glue {
    /// Answers do not wait for the commit.
    AnswerBeforeCommit,
    /// Where the ledger stands is answered at once.
    StandsAtOnce,
    /// Scrapers see what is not on disk.
    PublishVolatile,
    /// The answers of a commit that failed are sent all the same.
    FailedCommitAnswered,
    /// After a failed commit the ledger goes on with what it had applied.
    CandidateKept,
    /// Postings to the history are not part of the commit.
    HistoryForgotten,
    /// A crash can leave the new positions beside the old registers…
    PositionsFirst,
    /// …or the new registers beside the old positions.
    RegistersFirst,
    /// A restore takes the registers of the backup and keeps the positions.
    PositionsKeptAtRestore,
    /// A restore does not change the generation.
    GenerationKept,
    /// Appends are applied whatever they extend.
    AppendAnywhere,
    /// Appends are compared by their number only.
    AppendByNumber,
    /// A stream that is not known begins without any coverage.
    CoverageForgotten,
    /// The agent believes every digest.
    BlindToDigests,
    /// The agent goes on where it was acknowledged, not where the ledger stands.
    ResumeFromOwnMark,
    /// The mark of what may be evicted never falls.
    KeepOldAcknowledgement,
    /// Where the ledger stands counts as on disk.
    StandingIsDurable,
    /// Any record makes room.
    EvictUnacknowledged,
    /// A new stream begins with what was not acknowledged.
    MintOnlyUnacknowledged,
    /// A summary may lie over the end of a post that was not answered.
    CoalesceOverPosts,
    /// A post that was not answered is sent again with what came since.
    PostsGrow,
    /// An emptied spool takes its old stream's name.
    StreamReused,
}

/// The rules that are broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken(pub(crate) &'static [Glue]);

impl Broken {
    pub(crate) fn has(self, glue: Glue) -> bool {
        self.0.contains(&glue)
    }
}

const DISK: &str = "what is acknowledged is on disk";
const FALLS: &str = "a published figure never falls within a generation";
const ONCE: &str = "each tick is booked at most once";
const DESTROYED: &str = "only a documented fault destroys readings";
const KEPT: &str = "whatever is kept is booked exactly once";
const REST: &str = "agents come to rest";

/// What is broken, in which world, and the invariant that shows it first.
const CAUGHT: [(&[Glue], Scenario, &str); 20] = [
    (&[Glue::AnswerBeforeCommit], F1, DISK),
    (&[Glue::PublishVolatile], F1, FALLS),
    (&[Glue::FailedCommitAnswered], F1, DISK),
    (&[Glue::CandidateKept], F1, "a single aggregator wins every commit"),
    (&[Glue::HistoryForgotten], F1, "slots and history add up to the registers"),
    (&[Glue::PositionsFirst], F1, DISK),
    (&[Glue::PositionsKeptAtRestore], F3, DISK),
    (&[Glue::GenerationKept], F3, FALLS),
    (&[Glue::AppendAnywhere], F3, DISK),
    (&[Glue::AppendByNumber], F2, DISK),
    (&[Glue::CoverageForgotten], F5, ONCE),
    (&[Glue::BlindToDigests], F2, DISK),
    (&[Glue::ResumeFromOwnMark], F3, REST),
    (&[Glue::KeepOldAcknowledgement], F3, DESTROYED),
    (&[Glue::EvictUnacknowledged], F3, DESTROYED),
    (&[Glue::RegistersFirst, Glue::CoverageForgotten], F1, ONCE),
    (&[Glue::StandsAtOnce], F3, DESTROYED),
    (&[Glue::MintOnlyUnacknowledged], F9, KEPT),
    (&[Glue::CoalesceOverPosts], F1_COALESCE, DISK),
    (&[Glue::StreamReused, Glue::BlindToDigests], F7, DISK),
];

/// What a second rule makes up for, and which one it is.
const REDUNDANT: [(&[Glue], Scenario, &str); 4] = [
    (&[Glue::RegistersFirst], F1, "coverage fences what comes again"),
    (&[Glue::StandingIsDurable], F3, "also an answer that changed nothing waits for the commit it rests on"),
    (&[Glue::StreamReused], F7, "another past has another digest"),
    (&[Glue::PostsGrow], F2_COALESCE, "the end of every post is noted"),
];

#[test]
fn every_broken_rule_is_found() {
    let mut wrong = Vec::new();
    for (broken, scenario, invariant) in CAUGHT {
        let report = explore(&mut World::new(scenario, Broken(broken)));
        let (unique, time) = (report.unique, report.time.as_secs_f64());
        let found = report.violation.as_ref().map_or("nothing", |(violation, _)| violation.invariant);
        let steps = report.violation.as_ref().map_or(0, |(_, trace)| trace.len());
        println!(
            "{:<44} {:.2} {unique:>8} states, {steps:>2} steps, {time:>5.1} s: {found}",
            format!("{broken:?}"),
            scenario.name
        );
        if found != invariant {
            wrong.push(format!("{broken:?}: found {:?}, not {invariant:?}", report.violation));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_rule_with_a_second_one_beside_it_may_break() {
    for (broken, scenario, why) in REDUNDANT {
        let report = explore(&mut World::new(scenario, Broken(broken)));
        println!("{:<44} {:.2} {:>8} states: {why}", format!("{broken:?}"), scenario.name, report.unique);
        assert!(report.violation.is_none(), "{broken:?}: {:?}", report.violation);
    }
}
