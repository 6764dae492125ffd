//! Whole worlds by seed: agents, network, aggregator and store in one deterministic history each, with
//! everything going wrong that may, and books of their own to compare the ledger with.
//!
//! `WATTLEDGER_SIM_SEEDS=10000` sets how many seeds are run, `WATTLEDGER_SIM_SEED=42` runs one and prints
//! what happened in it.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod checks;
mod client;
mod disk;
mod machine;
mod marks;
#[cfg(feature = "mutants")]
mod mutants;
mod oracle;
mod plan;
mod rng;
mod server;
mod sim_store;
mod trace;
mod truth;
mod world;

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use trace::Trace;
use world::{Outcome, World};

/// Rules are broken for the whole process: who breaks some runs alone.
static TURN: Mutex<()> = Mutex::new(());

/// Seeds per run where nobody says how many.
const SEEDS: u64 = 2000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

fn run(seed: u64, trace: Trace) -> Outcome {
    World::new(seed, trace).run()
}

/// Runs a failing seed once more to tell what happened in it.
fn explain(seed: u64, violation: &str) -> ! {
    let again = run(seed, Trace::on());
    panic!(
        "seed {seed}: {violation}\n\nthe last events:\n{}\n\nall of them: WATTLEDGER_SIM_SEED={seed} \
         cargo nextest run --test simulation --no-capture worlds_end_with_exactly_what_was_read",
        again.trace.last(60)
    )
}

#[test]
fn worlds_end_with_exactly_what_was_read() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(seed) = number("WATTLEDGER_SIM_SEED") {
        let outcome = run(seed, Trace::on());
        eprintln!("{}", outcome.trace.last(usize::MAX));
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("WATTLEDGER_SIM_SEEDS").unwrap_or(SEEDS);
    let begin = Instant::now();
    let (mut steps, mut readings, mut counted, mut cuts, mut holds) = (0, 0, 0, 0, 0);
    for seed in 0..seeds {
        let outcome = run(seed, Trace::default());
        if let Some(violation) = outcome.violation {
            explain(seed, &violation);
        }
        steps += outcome.steps;
        readings += outcome.readings;
        counted += outcome.counted;
        (cuts, holds) = (cuts + outcome.cuts, holds + outcome.holds);
    }
    let elapsed = begin.elapsed().as_secs_f64();
    eprintln!(
        "{seeds} seeds in {elapsed:.1} s: {steps} steps, {readings} readings, of which {counted} outlived all faults; {cuts} cuts, {holds} jobs"
    );
    assert!(counted * 2 > readings && counted < readings, "the faults are neither everything nor nothing");
    assert!(cuts > 2 * seeds && holds > 2 * seeds, "marks are looked at");
}
