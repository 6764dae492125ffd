//! The simulation can fail: each rule of delivery, broken in the production code itself, is found out by
//! the world's own books. `cargo nextest run --test simulation --features mutants` runs this.

use std::sync::PoisonError;

use meter::mutant::break_rules;
use meter::{Mutant, mutant};

use crate::trace::Trace;
use crate::{TURN, run};

/// How many worlds a broken rule may survive.
const SEEDS: u64 = 5000;
/// In how many worlds a rule that another stands in for must make no difference.
const INDIFFERENT: u64 = 300;

/// Rules that another one stands in for. Broken alone they must change nothing; in some world that the
/// other's absence does not disturb, both together must be found out.
const REDUNDANT: [(Mutant, Mutant, &str); 1] = [(
    Mutant::JsonRepetition,
    Mutant::NoFence,
    "a client that is told of a conflict opens a new stream, and coverage fences what it sends again",
)];

fn violation(broken: &[Mutant], seed: u64) -> Option<String> {
    break_rules(broken);
    let violation = run(seed, Trace::default()).violation;
    break_rules(&[]);
    violation
}

/// The first seed that finds this out, and how.
fn found_out(broken: Mutant) -> Option<(u64, String)> {
    (0..SEEDS).find_map(|seed| Some((seed, violation(&[broken], seed)?)))
}

/// The same for a rule that another stands in for.
fn found_out_together(redundant: Mutant, partner: Mutant) -> Option<(u64, String)> {
    let alone = (0..INDIFFERENT).find_map(|seed| violation(&[redundant], seed));
    assert_eq!(alone, None, "{redundant:?} alone makes a difference: it is not redundant");
    let both = |seed| Some((seed, violation(&[redundant, partner], seed)?));
    (0..SEEDS).filter_map(both).find(|(seed, _)| violation(&[partner], *seed).is_none())
}

#[test]
fn every_broken_rule_is_found_out() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut survivors = Vec::new();
    for broken in Mutant::ALL {
        let partner = REDUNDANT.iter().find(|(redundant, ..)| *redundant == broken);
        let found = match partner {
            Some((_, partner, why)) => {
                eprint!("(with {partner:?}, because {why}) ");
                found_out_together(broken, *partner)
            }
            None => found_out(broken),
        };
        match found {
            Some((seed, how)) => eprintln!("{broken:?}: seed {seed}: {}", how.replace('\n', " ")),
            None => survivors.push(broken),
        }
    }
    assert!(!mutant(Mutant::NoFence), "all rules are mended");
    assert!(survivors.is_empty(), "no world found out {survivors:?}");
}
