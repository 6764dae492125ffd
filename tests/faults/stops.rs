//! SIGSTOP and SIGCONT: a process that sleeps through requests, time limits and readings.

use std::time::Duration;

use rustix::process::Signal;

use crate::dice::{Dice, times};
use crate::fleet::World;
use crate::load::Load;
use crate::oracle::{Truth, progress, settle};
use crate::scraper::Scraper;

#[test]
fn either_is_stopped_and_continued() {
    let mut dice = Dice::new("either is stopped and continued");
    let mut world = World::new(2);
    world.start();
    let scraper = Scraper::start(&world.url());
    let load = Load::start(&world.url(), dice.clone());
    world.start_agents();
    progress(&world, 0);
    for round in 0..times(4, 60) {
        std::thread::sleep(dice.pause(1000));
        // Half of them longer than the agents wait for an answer, which is a second.
        let sleep = Duration::from_millis(if round % 2 == 0 { 2500 } else { 300 }) + dice.pause(500);
        let program = match round % 4 {
            0 | 3 => &mut world.aggregator,
            _ => &mut world.nodes[dice.below(2) as usize].program,
        };
        program.signal(Signal::STOP);
        std::thread::sleep(sleep);
        program.signal(Signal::CONT);
    }
    // Longer than power is joined: this time was not measured, and the ledger must say so.
    let sleeper = &mut world.nodes[0].program;
    sleeper.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(10_500));
    sleeper.signal(Signal::CONT);
    std::thread::sleep(Duration::from_millis(500));

    let sent = load.finish();
    let truth = settle(&mut world, Truth::default());
    sent.compare(&world.url());
    scraper.finish();
    let sums = truth.sums();
    let meter = sums.iter().find(|((host, scope, _), _)| host == "node-0" && scope == "chassis");
    let (_, meter) = meter.expect("the meter of the machine that slept");
    assert!(meter.uncovered >= 10_000_000_000, "{meter:?}");
}
