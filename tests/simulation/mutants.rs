//! The simulation can fail: each rule of delivery, broken in the production code itself, is found out by
//! the world's own books. `cargo nextest run --test simulation --features mutants` runs this.

use meter::mutant::break_rules;
use meter::{Mutant, mutant};

use crate::run;
use crate::trace::Trace;

/// How many worlds a broken rule may survive.
const SEEDS: u64 = 1500;

/// Rules that another one stands in for. Broken alone they must change nothing; together with the other
/// they must be found out.
const REDUNDANT: [(Mutant, Mutant, &str); 1] = [(
    Mutant::JsonRepetition,
    Mutant::NoFence,
    "a client that is told of a conflict opens a new stream, and coverage fences what it sends again",
)];

/// The first seed that finds these out, and how.
fn found_out(broken: &[Mutant]) -> Option<(u64, String)> {
    break_rules(broken);
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, Trace::default()).violation?)));
    break_rules(&[]);
    found
}

#[test]
fn every_broken_rule_is_found_out() {
    let mut survivors = Vec::new();
    for broken in Mutant::ALL {
        let partner = REDUNDANT.iter().find(|(redundant, ..)| *redundant == broken);
        let set = partner.map_or(vec![broken], |(_, partner, _)| vec![broken, *partner]);
        match found_out(&set) {
            Some((seed, how)) => eprintln!("{set:?}: seed {seed}: {}", how.replace('\n', " ")),
            None => survivors.push(set),
        }
    }
    assert!(!mutant(Mutant::NoFence), "all rules are mended");
    assert!(survivors.is_empty(), "no world found out {survivors:?}");
}
