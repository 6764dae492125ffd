//! `kill -9` at random moments under load.

use std::time::Duration;

use crate::dice::{Dice, times};
use crate::fleet::World;
use crate::load::Load;
use crate::oracle::{Truth, progress, settle};
use crate::proxy::Proxy;
use crate::scraper::Scraper;

/// Who is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victims {
    Aggregator,
    Agents,
    Both,
}

#[test]
fn the_aggregator_is_killed() {
    story("the aggregator is killed", Victims::Aggregator, times(9, 400));
}

#[test]
fn the_agents_are_killed() {
    story("the agents are killed", Victims::Agents, times(8, 400));
}

#[test]
fn both_are_killed() {
    story("both are killed", Victims::Both, times(8, 300));
}

fn story(name: &str, victims: Victims, kills: usize) {
    let mut dice = Dice::new(name);
    let mut world = World::new(3);
    // One reads so much into so small a spool that segments begin and end all the time. What its ring let go
    // was seen on its way.
    let proxy = Proxy::start(&world.address, dice.clone());
    let node = &mut world.nodes[2];
    node.toward.clone_from(&proxy.address);
    (node.period_ms, node.gpus, node.ring_mib) = (10, 16, 1);
    world.start();
    let scraper = Scraper::start(&world.url());
    let load = Load::start(&world.url(), dice.clone());
    world.start_agents();
    progress(&world, 0);
    let (mut killed, mut early) = ([0, 0], 0);
    for round in 0..kills {
        if victims == Victims::Aggregator || (victims == Victims::Both && dice.below(2) == 0) {
            early += usize::from(kill_aggregator(&mut world, &mut dice, round));
            killed[0] += 1;
        } else {
            let node = dice.below(3) as usize;
            std::thread::sleep(dice.pause(500));
            world.nodes[node].program.kill();
            std::thread::sleep(dice.pause(150));
            world.nodes[node].start(&world.home);
            killed[1] += 1;
        }
    }
    world.wait_until_ready();
    println!(
        "{name}: kill -9 of the aggregator {} times ({early} of them while it started), of an agent {} times",
        killed[0], killed[1]
    );
    let sent = load.finish();
    // Started anew, a full spool does not know yet what the ledger has: it coalesces rather than let go.
    settle(&mut world, Truth::seen_by(&proxy));
    sent.compare(&world.url());
    scraper.finish();
    for node in &world.nodes {
        assert!(!node.program.logged().contains("are dropped"), "{}: nothing had to go", node.name);
    }
}

/// Kills the aggregator at a random moment and starts it again; whether it was still starting.
fn kill_aggregator(world: &mut World, dice: &mut Dice, round: usize) -> bool {
    let starting = round % 4 == 3;
    if !starting {
        world.wait_until_ready();
        std::thread::sleep(dice.pause(700));
    } else {
        std::thread::sleep(dice.pause(200));
    }
    world.aggregator.kill();
    std::thread::sleep(dice.pause(100));
    world.launch();
    // A port that is being let go, a store that opens: whoever looks sees it come back.
    std::thread::sleep(Duration::from_millis(1));
    starting
}
