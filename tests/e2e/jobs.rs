//! What jobs used: told in time to the microjoule, told late within their edge slots, and all together what is
//! billed. The oracle is the rule in whole numbers, over the readings as they were sent.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::{Home, Server, Writer, get, post, slot_ago_ms, wattledger};

/// Half picojoules in a microjoule.
const MICROJOULE: i128 = 2_000_000;
/// Two hours, in seconds.
const LENGTH: i64 = 7200;
/// From 10:07:13 to 11:22:48, in seconds after 10:00.
const JOB: (i64, i64) = (433, 4968);

/// A machine with eight GPUs and a CPU package by counter, memory and a chassis meter by power.
struct Machine {
    name: &'static str,
    base_ms: i64,
}

/// Watts of a GPU in a minute.
fn gpu_watts(gpu: i64, minute: i64) -> i64 {
    60 + 40 * gpu + (minute * 37 + gpu * 11) % 200
}

/// Watts of the CPU package in a minute.
fn cpu_watts(minute: i64) -> i64 {
    150 + (minute * 13) % 90
}

/// Milliwatts that a power meter shows at the beginning of a minute; they run straight to the next.
fn dram_mw(minute: i64) -> i64 {
    40_000 + 600 * (minute % 7)
}

fn chassis_mw(minute: i64) -> i64 {
    2_900_000 + 60_000 * (minute % 5) + 6_000 * (minute % 3)
}

/// What constant watts by the minute come to from the beginning, in half picojoules.
fn steps(watts: impl Fn(i64) -> i64, second: i64) -> i128 {
    let minutes = (0..second / 60).map(|minute| i128::from(watts(minute)) * 60).sum::<i128>();
    (minutes + i128::from(watts(second / 60)) * i128::from(second % 60)) * 1_000_000 * MICROJOULE
}

/// What milliwatts that run straight between minutes come to, in half picojoules.
fn ramps(mw: impl Fn(i64) -> i64, second: i64) -> i128 {
    let area = |from: i64, to: i64, seconds: i64| i128::from(from + to) * i128::from(seconds) * 1_000_000_000;
    let whole = (0..second / 60).map(|minute| area(mw(minute), mw(minute + 1), 60)).sum::<i128>();
    let (minute, rest) = (second / 60, second % 60);
    let here = mw(minute) + (mw(minute + 1) - mw(minute)) * rest / 60;
    whole + area(mw(minute), here, rest)
}

impl Machine {
    fn at_ms(&self, second: i64) -> i64 {
        self.base_ms + second * 1000
    }

    /// Its readings from one second to before another.
    fn readings(&self, seconds: std::ops::Range<i64>) -> Vec<Value> {
        let joules = |energy: i128| (energy / MICROJOULE) as f64 / 1e6;
        let mut all = Vec::new();
        for second in seconds.filter(|second| second % 10 == 0) {
            let at = self.at_ms(second);
            for gpu in 0..8 {
                let joules = joules(steps(|minute| gpu_watts(gpu, minute), second));
                all.push(json!({"scope": "gpu", "device": format!("GPU-{gpu}"), "at_ms": at, "joules": joules,
                    "epoch": "a", "period_ms": 10_000}));
            }
            if second % 60 == 0 {
                all.push(json!({"scope": "cpu", "device": "package-0", "at_ms": at, "joules": joules(steps(cpu_watts, second)),
                    "epoch": "a", "period_ms": 60_000}));
                for (scope, device, mw) in
                    [("dram", "", dram_mw(second / 60)), ("chassis", "wall", chassis_mw(second / 60))]
                {
                    let watts = mw as f64 / 1000.0;
                    all.push(
                        json!({"scope": scope, "device": device, "at_ms": at, "watts": watts, "period_ms": 60_000}),
                    );
                }
            }
        }
        all
    }

    /// Sends its readings from one second to before another.
    fn send(&self, writer: &mut Writer<'_>, seconds: std::ops::Range<i64>) {
        for chunk in self.readings(seconds).chunks(2000) {
            let answer = writer.send(chunk).json();
            assert_eq!(answer["refused"], json!([]), "{answer}");
            assert_eq!(answer["fenced"], 0, "{answer}");
        }
    }

    /// What a part of it used between two seconds, in half picojoules.
    fn used(&self, what: &str, from: i64, until: i64) -> i128 {
        let upto = |second: i64| match what {
            "cpu" => steps(cpu_watts, second),
            "dram" => ramps(dram_mw, second),
            "chassis" => ramps(chassis_mw, second),
            gpu => {
                let gpu: i64 = gpu.parse().expect("a GPU's number");
                steps(|minute| gpu_watts(gpu, minute), second)
            }
        };
        upto(until) - upto(from)
    }

    /// What these GPUs and sixteenths of the rest used between two seconds, in microjoules.
    fn job(&self, gpus: &[i64], sixteenths: i128, (from, until): (i64, i64)) -> i128 {
        let gpu = |gpu: i64| self.used(&gpu.to_string(), from, until);
        let all: i128 = (0..8).map(gpu).sum();
        let (cpu, dram) = (self.used("cpu", from, until), self.used("dram", from, until));
        let unexplained = self.used("chassis", from, until) - all - cpu - dram;
        let shared = (cpu + dram + unexplained) * sixteenths;
        assert_eq!(shared % 16, 0, "the figures were chosen so");
        let energy = gpus.iter().map(|&number| gpu(number)).sum::<i128>() + shared / 16;
        assert_eq!(energy % MICROJOULE, 0, "the figures were chosen so");
        energy / MICROJOULE
    }
}

fn post_job(server: &Server, path: &str, body: &Value) -> Value {
    post(&format!("{}/api/v1/jobs{path}", server.url), "application/json", body.to_string()).json()
}

fn window(machine: &Machine) -> String {
    format!("{},{}", machine.base_ms / 1000, machine.base_ms / 1000 + LENGTH)
}

/// Energy in microjoules and apportioned joules, by the values of `by`.
fn ask(server: &Server, machine: &Machine, query: &str) -> BTreeMap<String, (i128, f64)> {
    let answer = get(&format!("{}/api/v1/rollup?window={}&{query}", server.url, window(machine))).json();
    let rows = answer["rows"].as_array().expect("rows").iter().map(|row| {
        let by = row["by"].as_object().expect("keys").values().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let energy = row["energy_uj"].as_str().and_then(|uj| uj.parse().ok()).expect("whole microjoules");
        (by, (energy, row["quality"]["apportioned_joules"].as_f64().expect("joules")))
    });
    rows.collect()
}

fn instant(machine: &Machine, second: i64) -> Value {
    json!(machine.at_ms(second) / 1000)
}

#[test]
fn a_job_told_in_time_is_the_rules_closed_form_and_told_late_lies_within_its_edge_slots() {
    let home = Home::new();
    let server = home.start();
    let base_ms = slot_ago_ms(4);
    let (told, late) = (Machine { name: "node-1", base_ms }, Machine { name: "node-2", base_ms });
    let allocation =
        |machine: &Machine| json!({"host": machine.name, "devices": ["GPU-2", "GPU-5"], "cores": 16, "cores_of": 64});

    let mut writer = Writer::new(&server.url, 1, told.name);
    told.send(&mut writer, 0..440);
    let begin = json!({"id": "4711", "user": "ann", "account": "phys", "hosts": [allocation(&told)],
        "start": instant(&told, JOB.0)});
    // Readings beyond the beginning would make it late.
    let answer = post_job(&server, "", &begin);
    assert_eq!(
        (&answer["job"]["exact_accounts"], &answer["job"]["apportioned_accounts"]),
        (&json!(11), &json!(0)),
        "{answer}"
    );
    assert_eq!(post_job(&server, "", &begin)["job"]["known"], true, "told again");
    told.send(&mut writer, 440..4960);
    let running = get(&format!("{}/api/v1/jobs/4711", server.url)).json();
    assert_eq!(running["job"]["state"], "running", "{running}");
    let answer = post_job(&server, "/4711/stop", &json!({"stop": instant(&told, JOB.1)}));
    assert_eq!(answer["job"]["apportioned_accounts"], 0, "{answer}");
    told.send(&mut writer, 4960..LENGTH + 1);

    let exact = told.job(&[2, 5], 4, JOB);
    assert_eq!(ask(&server, &told, "by=job.id&where=host=node-1")["4711"], (exact, 0.0));
    let shown = get(&format!("{}/api/v1/jobs/4711", server.url)).json();
    assert_eq!(shown["job"]["energy_uj"], exact.to_string(), "{shown}");
    assert_eq!((&shown["job"]["state"], &shown["on"][0]["devices"]), (&json!("ended"), &json!(["GPU-2", "GPU-5"])));

    // The same machine, told when all is over.
    late.send(&mut Writer::new(&server.url, 2, late.name), 0..LENGTH + 1);
    let past = json!({"id": "4712", "user": "ann", "hosts": [allocation(&late)], "start": instant(&late, JOB.0),
        "stop": instant(&late, JOB.1)});
    let answer = post_job(&server, "", &past);
    assert_eq!(
        (&answer["job"]["known"], &answer["job"]["apportioned_accounts"]),
        (&json!(false), &json!(11)),
        "{answer}"
    );
    assert_eq!(post_job(&server, "", &past)["job"]["known"], true, "told again");
    let (energy, apportioned) = ask(&server, &late, "by=job.id&where=host=node-2")["4712"];
    let of = |span| late.job(&[2, 5], 4, span);
    let (inside, edges) = (of((900, 4500)), of((0, 900)) + of((4500, 5400)));
    assert!((inside..=inside + edges).contains(&energy), "{inside} {energy} {edges}");
    assert_ne!(energy, exact, "apportioned by time");
    assert!((energy - exact).abs() < edges / 10);
    assert!((apportioned - (energy - inside) as f64 / 1e6).abs() < 1e-3, "{apportioned}: all in its edge slots");
    drop(server);
}

#[test]
fn jobs_idle_and_unattributed_are_what_is_billed_under_every_policy() {
    let home = Home::new();
    home.write("inventory.csv", "host,team,account\nnode-1,nlp,ops\nnode-2,,\ndisks,storage,\n");
    let inventory = home.path("inventory.csv");
    let config = format!(
        "[files]\ninventory = {:?}\n[attribution]\nteam = [\"job.account\", \"team\"]\n",
        inventory.display().to_string()
    );
    let config = home.write("wattledger.toml", config);
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let base_ms = slot_ago_ms(4);
    let machines = ["node-1", "node-2", "disks"].map(|name| Machine { name, base_ms });
    for (number, machine) in machines.iter().enumerate() {
        machine.send(&mut Writer::new(&server.url, number as u64, machine.name), 0..LENGTH + 1);
    }
    // Somebody asked before: jobs that are told afterwards are known at once all the same.
    assert_eq!(ask(&server, &machines[0], "by=job.id").len(), 1);
    let at = |second| instant(&machines[0], second);
    for (id, account, host, devices, cores, span) in [
        ("1", "phys", "node-1", json!(["GPU-0", "GPU-1"]), 32, (0, 3600)),
        // On a device of the first, for half an hour; and more cores than there are.
        ("2", "chem", "node-1", json!(["GPU-1"]), 48, (1800, 5400)),
        ("3", "phys", "node-2", json!(["GPU-7"]), 8, (100, 7000)),
    ] {
        let job = json!({"id": id, "account": account, "labels": {"partition": "gpu"}, "start": at(span.0), "stop": at(span.1),
            "hosts": [{"host": host, "devices": devices, "cores": cores, "cores_of": 64}]});
        post_job(&server, "", &job);
    }
    // GPU-1: the first job's alone, then half each, then the second's.
    let gpu = |from, until| machines[0].used("1", from, until) / MICROJOULE;
    let of_gpu = ask(&server, &machines[0], "by=job.id&where=host=node-1,device=GPU-1");
    assert_eq!(of_gpu["1"].0, gpu(0, 1800) + gpu(1800, 3600) / 2);
    assert_eq!(of_gpu["2"].0, gpu(1800, 3600) / 2 + gpu(3600, 5400));
    // 80 of 64 cores: 32 and 48 of 80.
    let of_cpu = ask(&server, &machines[0], "by=job.id&where=host=node-1,scope=cpu");
    let cpu = |from, until| machines[0].used("cpu", from, until) / MICROJOULE;
    assert_eq!(of_cpu["2"].0, cpu(1800, 3600) * 48 / 80 + cpu(3600, 5400) * 48 / 64);

    let billed: i128 = ask(&server, &machines[0], "by=host").values().map(|(energy, _)| energy).sum();
    for by in ["job.id", "job.account,host", "job.partition,scope", "team", "team,host", "job.user,device"] {
        for idle in ["separate", "owner", "proportional"] {
            for shared in ["separate", "owner", "proportional"] {
                let rows = ask(&server, &machines[0], &format!("by={by}&idle={idle}&shared={shared}&step=1h"));
                assert!(!rows.is_empty());
                let answer = get(&format!(
                    "{}/api/v1/rollup?window={}&by={by}&idle={idle}&shared={shared}&step=1h",
                    server.url,
                    window(&machines[0])
                ))
                .json();
                let all = answer["rows"].as_array().expect("rows").iter();
                let sum: i128 = all
                    .map(|row| row["energy_uj"].as_str().and_then(|uj| uj.parse::<i128>().ok()).expect("energy"))
                    .sum();
                assert_eq!(sum, billed, "by={by} idle={idle} shared={shared}");
            }
        }
    }
    let teams = ask(&server, &machines[0], "by=team");
    assert_eq!(teams.keys().map(String::as_str).collect::<Vec<_>>(), ["(idle)", "(unattributed)", "chem", "phys"]);
    let owners = ask(&server, &machines[0], "by=team&idle=owner&shared=owner");
    assert_eq!(owners.keys().map(String::as_str).collect::<Vec<_>>(), ["(idle)", "chem", "nlp", "phys", "storage"]);
    assert_eq!(teams["phys"], owners["phys"]);
    let spread = ask(&server, &machines[0], "by=team&idle=proportional&shared=proportional");
    assert_eq!(spread.keys().map(String::as_str).collect::<Vec<_>>(), ["chem", "phys"]);

    let listed = wattledger(&home, &["jobs", "list", "--server", &server.url, "--where", "job.account=phys"]).ok().out;
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let page = get(&format!("{}/api/v1/jobs?limit=2", server.url)).json();
    assert_eq!(page["jobs"].as_array().map(Vec::len), Some(2), "{page}");
    let rest =
        get(&format!("{}/api/v1/jobs?limit=2&cursor={}", server.url, page["next_cursor"].as_str().expect("more")))
            .json();
    assert_eq!((rest["jobs"][0]["id"].as_str(), &rest["next_cursor"]), (Some("1"), &Value::Null), "{rest}");
    let csv =
        get(&format!("{}/api/v1/report?window={}&by=job.account&format=csv", server.url, window(&machines[0]))).body;
    assert!(csv.lines().next().is_some_and(|header| header.contains("apportioned_joules")), "{csv}");
}

#[test]
fn a_bmc_is_cut_where_its_machines_jobs_begin_and_end() {
    let home = Home::new();
    let inventory = home.write("inventory.csv", "host,chassis\nnode-1,bmc-1\n");
    let config = format!("[files]\ninventory = {:?}\n", inventory.display().to_string());
    let config = home.write("wattledger.toml", config);
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let machine = Machine { name: "node-1", base_ms: slot_ago_ms(4) };
    // What stands outside is read by somebody else, under its own name.
    let (inside, outside): (Vec<Value>, Vec<Value>) =
        machine.readings(0..LENGTH + 1).into_iter().partition(|reading| reading["scope"] != "chassis");
    let seconds = |readings: &[Value], span: std::ops::Range<i64>| -> Vec<Value> {
        let is_in =
            |reading: &&Value| span.contains(&((reading["at_ms"].as_i64().unwrap_or(0) - machine.base_ms) / 1000));
        readings.iter().filter(is_in).cloned().collect()
    };
    let mut writer = Writer::new(&server.url, 1, machine.name);
    let mut seq = 0;
    let mut bmc = |readings: Vec<Value>| {
        seq += 1;
        let body = json!({"stream": "bmc", "seq": seq, "chassis": "bmc-1", "readings": readings});
        crate::harness::post_json(&server.url, &body).json()
    };
    let mut told = None;
    for (span, path, word) in [
        (
            0..430,
            "",
            json!({"id": "1", "host": "node-1", "devices": ["GPU-0"], "cores": 8, "cores_of": 16, "start": instant(&machine, JOB.0)}),
        ),
        (430..4950, "/1/stop", json!({"stop": instant(&machine, JOB.1)})),
        (4950..LENGTH + 1, "", Value::Null),
    ] {
        assert_eq!(writer.send(&seconds(&inside, span.clone())).json()["refused"], json!([]));
        assert_eq!(bmc(seconds(&outside, span))["refused"], json!([]));
        if !word.is_null() {
            told = Some(post_job(&server, path, &word));
        }
    }
    assert_eq!(told.expect("answers")["job"]["apportioned_accounts"], 0);
    assert_eq!(ask(&server, &machine, "by=job.id")["1"], (machine.job(&[0], 8, JOB), 0.0));
}

#[test]
fn slurms_accounting_is_imported_once_and_says_what_it_cannot_know() {
    let home = Home::new();
    let server = home.start();
    let machine = Machine { name: "node-1", base_ms: slot_ago_ms(4) };
    machine.send(&mut Writer::new(&server.url, 1, machine.name), 0..LENGTH + 1);
    let second = |second: i64| machine.at_ms(second) / 1000;
    let (from, until) = (second(900), second(4500));
    let sacct = format!(
        "JobID|User|Account|Partition|NodeList|Start|End|AllocCPUS|AllocTRES\n\
         17|ann|phys|gpu|node-1|{from}|{until}|16|cpu=16,gres/gpu=2\n\
         17.batch|||||{from}|{until}|16|\n\
         18|bob|chem|gpu|node-1|{until}|Unknown|4|\n\
         19|bob|chem|gpu|node-[1|{from}|{until}|4|\n"
    );
    let file = home.write("sacct.txt", sacct);
    let file = file.to_str().expect("a plain path");
    let import = || {
        let arguments = ["jobs", "import", "--sacct", file, "--server", &server.url, "--tz", "UTC", "--cores-of", "64"];
        wattledger(&home, &arguments)
    };
    let first = import();
    assert_eq!(first.status.code(), Some(1), "a line is left out");
    for told in ["1 jobs taken, 0 known before", "1 steps", "1 jobs that still run", "line 5 "] {
        assert!(first.out.contains(told), "{told}: {}", first.out);
    }
    assert!(import().out.contains("0 jobs taken, 1 known before"));
    let (energy, apportioned) = ask(&server, &machine, "by=job.id")["17"];
    // Whole slots, but nobody said which of the eight GPUs: a quarter of each.
    let gpus: i128 = (0..8).map(|gpu| machine.used(&gpu.to_string(), 900, 4500)).sum::<i128>() / 4 / MICROJOULE;
    assert_eq!(energy, machine.job(&[], 4, (900, 4500)) + gpus);
    assert!((apportioned - gpus as f64 / 1e6).abs() < 1e-3, "{apportioned} of {gpus}");
}
