//! Pages of a chassis and of a device: figures worked out by hand, names that are hostile, what is not there.

use std::collections::BTreeSet;

use aggregator::Settings;
use meter::{Owner, OwnerKind, Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, fetch, write};

const S: i32 = MONDAY.0;
const BROWSER: &str = "accept: text/html\r\n";

fn now() -> Utc {
    Slot(S + 2).start()
}

fn chassis(name: &str) -> Owner {
    Owner::new("default", OwnerKind::Chassis, name).expect("a name")
}

/// A server with an inventory and a price.
fn served(fleet: Fleet, inventory: &str) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| write(&dir, name, text);
    let mut settings = Settings::default();
    settings.files.inventory = write("inventory.csv", inventory);
    settings.files.rates = write("rates.toml", "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.5\"\n");
    (Server::on(fleet.store, settings, now), dir)
}

/// An enclosure that draws 2 kW for half an hour, and two hosts in it whose GPUs draw 1000 W and 333⅓ W of that.
fn enclosure(name: &str, device: &str, label: &str) -> (Server, tempfile::TempDir) {
    let mut fleet = Fleet::new();
    fleet.owner(&chassis(name), &[(Scope::Chassis, device)], MONDAY, Slot(S + 1));
    fleet.label(&chassis(name), MONDAY.start(), &[("site", label), ("rack", label)]);
    for (host, kilojoules) in [(host("a"), 900), (host("b"), 300)] {
        fleet.owner(&host, &[(Scope::Gpu, "gpu-0")], MONDAY, Slot(S + 1));
        for slot in [MONDAY, Slot(S + 1)] {
            fleet.open(&host, slot, &[cell(kj(kilojoules), 900)]);
        }
    }
    for slot in [MONDAY, Slot(S + 1)] {
        fleet.open(&chassis(name), slot, &[cell(kj(1800), 900)]);
    }
    fleet.settle_all(Slot(S + 2));
    served(fleet, &format!("host,chassis\na,{name}\nb,{name}\nc,empty-1\n"))
}

/// The row of a table that a link begins.
fn row<'h>(html: &'h str, link: &str) -> &'h str {
    let rows = html.split("<tr>").filter(|row| row.contains(&format!("href=\"{link}\"")));
    rows.last().and_then(|row| row.split("</tr>").next()).unwrap_or_else(|| panic!("no row has {link}: {html}"))
}

#[test]
fn a_chassis_shows_what_it_measures_and_who_sits_in_it() {
    let (server, _dir) = enclosure("enc-1", "wall", "par1");
    let html = server.get("/chassis/default/enc-1").2;
    // 2 kW for half an hour are 1 kWh; the GPUs explain two thirds of it, and each host bears the rest by its GPU.
    for words in [
        "1.00<small> kWh</small>",
        "0.50\u{a0}EUR",
        "500<small> W</small>",
        "gpu: 1.33\u{a0}kW",
        "unattributed: 667\u{a0}W",
        "66.7\u{202f}%",
        "33.3\u{202f}%",
        "2 host-hours",
    ] {
        let words = words.replace("2 host-hours", "1.0 of 1.0 host-hours");
        assert!(html.contains(&words), "{words:?} is not on the page: {html}");
    }
    for (name, energy, share) in [("a", "750 <small>Wh", "75\u{202f}%"), ("b", "250 <small>Wh", "25\u{202f}%")] {
        let row = row(&html, &format!("/hosts/default/{name}"));
        for words in [energy, share, "250 <small>W<", "100\u{202f}%", "EUR"] {
            assert!(row.contains(words), "{words:?} is not in the row of {name}: {row}");
        }
    }
    // Its own meter, as it was read: the bill is the hosts'.
    assert!(row(&html, "/devices/default/chassis/enc-1/chassis%3Awall").contains("1.00 <small>kWh"), "{html}");
    // The rows by chassis lead here, and so does the page of a host.
    assert!(row(&server.get("/?by=chassis").2, "/chassis/default/enc-1").contains("enc-1"));
    assert!(server.get("/hosts/a").2.contains("href=\"/chassis/default/enc-1\""));
    // One that only the inventory names is known, and nothing of it.
    let (status, _, html) = server.get("/chassis/empty-1?range=7d");
    assert!(
        status == 200 && html.contains("never_seen") && html.contains("href=\"/hosts/default/c?range=7d\""),
        "{html}"
    );
    assert!(!html.contains("0<small> Wh"), "what was never read is not zero: {html}");
}

#[test]
fn a_device_shows_what_was_read_of_it_and_what_is_billed_by_itself() {
    let (server, _dir) = enclosure("enc-1", "wall", "par1");
    let html = server.get("/devices/default/chassis/enc-1/chassis:wall").2;
    for words in [
        "1.00<small> kWh</small>",
        "mean 2.00\u{a0}kW, peak 2.00\u{a0}kW of quarters",
        "0.5 of 0.5 hours",
        "power, joined between neighbouring readings",
        "100\u{202f}% joined from power",
        "href=\"/chassis/default/enc-1\"",
        "default/chassis/enc-1/chassis:wall",
    ] {
        assert!(html.contains(words), "{words:?} is not on the page: {html}");
    }
    assert!(!html.contains("Billed of it"), "the bill is the hosts'");
    let html = server.get("/devices/default/host/a/gpu:gpu-0?range=7d").2;
    for words in ["500<small> Wh</small>", "500\u{a0}Wh, 0.25\u{a0}EUR", "href=\"/hosts/default/a?range=7d\"", "gpu"] {
        assert!(html.contains(words), "{words:?} is not on the page: {html}");
    }
    // The device alone does where only one has it; several are told.
    assert_eq!(server.get("/devices/wall").0, 200);
    let (status, _, html) = fetch(server.addr, "/devices/gpu-0", BROWSER);
    assert!(status == 409 && html.contains("default/host/b/gpu:gpu-0"), "{html}");
}

#[test]
fn constant_power_is_level_from_the_first_reading_on() {
    let mut fleet = Fleet::new();
    let state = fleet.owner(&host("a"), &[(Scope::Gpu, "g")], MONDAY, Slot(S + 1));
    state.accounts[0].first.at = Utc(MONDAY.start().0 + 600_000_000_000);
    fleet.open(&host("a"), MONDAY, &[cell(kj(150), 300)]);
    fleet.open(&host("a"), Slot(S + 1), &[cell(kj(450), 900)]);
    fleet.settle_all(Slot(S + 2));
    let (server, _dir) = served(fleet, "host,team\na,nlp\n");
    for path in ["/", "/?where=team%3Dnlp", "/devices/g"] {
        let html = server.get(path).2;
        assert!(html.contains("mean 500\u{a0}W, peak 500\u{a0}W of quarters"), "{path}: {html}");
    }
    assert!(server.get("/hosts/a").2.contains("gpu: 500\u{a0}W"));
}

#[test]
fn every_link_of_these_pages_leads_somewhere_whatever_things_are_called() {
    let label = "\"><img src=x onerror=alert(1)>";
    for (name, device, label) in [("enc-1", "wall", "par1"), ("e:n@c+1", "w:a+l/l@1.2", label)] {
        let (server, _dir) = enclosure(name, device, label);
        let (mut seen, mut ahead) = (BTreeSet::new(), vec!["/?by=chassis".to_owned(), "/hosts/a".to_owned()]);
        while let Some(path) = ahead.pop() {
            let (status, head, html) = server.get(&path);
            assert_eq!(status, 200, "{path}: {html}");
            if !head.contains("text/html") || path.starts_with("/api/") {
                continue;
            }
            assert!(!html.contains("<img") && html.matches("<script").count() == 1, "{path}: {html}");
            let is_closer =
                path.starts_with("/chassis/") || path.starts_with("/devices/") || path.starts_with("/hosts/");
            let links = html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
            let links = links.map(|link| link.replace("&#38;", "&")).filter(|link| link.starts_with('/'));
            // Of the fleet's page only what leads closer, or there would be no end.
            let wanted = links.filter(|link| is_closer || link.starts_with("/chassis/") || link.starts_with("/hosts/"));
            ahead.extend(wanted.filter(|link| seen.insert(link.clone())));
        }
        let count = |prefix: &str| seen.iter().filter(|link| link.starts_with(prefix)).count();
        // Each over four ranges, and as it was come by; two GPUs and the meter.
        assert!(count("/chassis/") >= 4 && count("/devices/") >= 12 && count("/api/v1/devices/") == 3, "{seen:?}");
    }
}

#[test]
fn what_is_not_there_says_what_to_do() {
    let (server, _dir) = enclosure("enc-1", "wall", "par1");
    for (path, code, words) in [
        ("/chassis/nothing", "no-such-owner", "there is no chassis &#34;nothing&#34;"),
        ("/chassis/a", "no-such-owner", "there is no chassis"),
        ("/devices/default/host/a/gpu:gpu-1", "no-such-device", "there is no account"),
        ("/devices/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "no-such-device", "&#60;script&#62;"),
    ] {
        assert_eq!(server.problem(path).1, code, "{path}, to a program");
        let (status, _, html) = fetch(server.addr, path, BROWSER);
        assert!(status == 404 && html.contains(words) && html.contains("href=\"/?by=host&#38;sort=name\""), "{html}");
        assert!(!html.contains("<script>"), "{html}");
    }
    assert_eq!(server.problem("/chassis/enc-1?range=2h").0, 400);
    assert_eq!(server.problem("/devices/wall?by=team").1, "unknown-parameter");
}

#[test]
fn a_chassis_of_thousands_of_devices_or_hundreds_of_hosts_is_a_page_of_bounded_size() {
    let mut fleet = Fleet::new();
    let names: Vec<String> = (0..2000).map(|n| format!("sensor-{n:04}")).collect();
    let accounts: Vec<(Scope, &str)> = names.iter().map(|name| (Scope::Other, &**name)).collect();
    fleet.owner(&chassis("enc-1"), &accounts, MONDAY, Slot(S + 1));
    fleet.owner(&chassis("enc-2"), &[(Scope::Chassis, "wall")], MONDAY, Slot(S + 1));
    let mut inventory = "host,chassis\n".to_owned();
    for n in 0..250 {
        let owner = host(&format!("node-{n:04}"));
        fleet.owner(&owner, &[(Scope::Gpu, "gpu-0")], MONDAY, Slot(S + 1));
        fleet.open(&owner, MONDAY, &[cell(kj(450), 900)]);
        inventory += &format!("node-{n:04},enc-2\n");
    }
    fleet.settle_all(Slot(S + 2));
    let (server, _dir) = served(fleet, &inventory);
    for (path, words) in [("/chassis/enc-1", "and 1700 more"), ("/chassis/enc-2", "and 50 more")] {
        let html = server.get(path).2;
        assert!(html.contains(words), "the rest of {path} is told");
        assert!(html.len() < 200_000, "{path}: {} bytes", html.len());
    }
    assert_eq!(server.get("/devices/sensor-1999").0, 200);
}
