//! Agents behind a network that cuts, delays, repeats and garbles.

use std::time::{Duration, Instant};

use crate::dice::{Dice, times};
use crate::fleet::World;
use crate::harness::wait_for;
use crate::oracle::{Truth, progress, settle};
use crate::proxy::{Fault, Proxy};
use crate::scraper::Scraper;

#[test]
fn a_network_that_cuts_delays_repeats_and_garbles() {
    let dice = Dice::new("a network that cuts, delays, repeats and garbles");
    let mut world = World::new(3);
    let proxy = Proxy::start(&world.address, dice);
    world.start();
    let scraper = Scraper::start(&world.url());
    world.nodes.iter_mut().for_each(|node| node.toward.clone_from(&proxy.address));
    world.start_agents();
    progress(&world, 0);

    let begun = Instant::now();
    // Garbage makes an agent wait for half a minute, so it comes last, and not often.
    let wanted = |fault| if fault == Fault::Garbage { times(1, 10) } else { times(1, 40) };
    let enough = |faults: &[Fault]| {
        let inflicted = proxy.inflicted();
        inflicted.iter().all(|(fault, count)| !faults.contains(fault) || *count >= wanted(*fault))
    };
    let (quick, all) = (&Fault::ALL[..7], &Fault::ALL);
    proxy.inflict(quick);
    wait_for("every fault of the network", Duration::from_secs(600), || enough(quick).then_some(()));
    proxy.inflict(all);
    wait_for("garbage in place of a reply", Duration::from_secs(1800), || enough(all).then_some(()));
    proxy.inflict(&[]);
    println!("{:?} in {:?}", proxy.inflicted(), begun.elapsed());

    settle(&mut world, Truth::default());
    scraper.finish();
}
