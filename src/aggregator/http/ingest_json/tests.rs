use energy::NumberedPost;
use meter::{Labels, Microjoules, Milliwatts, Refusal, Sample};

use super::*;

/// A body of one host with these readings.
fn with(readings: &str) -> String {
    format!(r#"{{"stream":"s","seq":1,"host":"n","readings":[{readings}]}}"#)
}

fn good(body: &str) -> NumberedPost {
    decode(body.as_bytes()).unwrap_or_else(|problem| panic!("{body}: {problem}"))
}

/// Device, instant in ms, mW, µJ, refusal.
type Said = (String, u64, Option<u64>, Option<u64>, Option<Refusal>);

/// What each sample of the body says.
fn samples(body: &str) -> Vec<Said> {
    let post = good(body);
    let of = |at: u64, sample: &Sample| {
        let device = post.context.devices[usize::from(sample.device)].key.device.to_string();
        let power = sample.power.map(|Milliwatts(mw)| mw);
        (device, at / 1_000_000, power, sample.counter.map(|Microjoules(uj)| uj), sample.refused)
    };
    post.records.iter().flat_map(|record| record.samples.iter().map(|sample| of(record.at, sample))).collect()
}

#[test]
fn the_documented_example_becomes_exact_integers() {
    let post = good(
        r#"{"stream":"0d3cb3a2-0000-4000-8000-00000000beef","seq":7,"host":"node-17","labels":{"team":"nlp"},
        "readings":[
        {"scope":"gpu","device":"GPU-5a1c","at_ms":1793491200000,"watts":412.5,"period_ms":1000},
        {"scope":"cpu","device":"package-0","at_ms":1793491200000,"joules":123456.789,"epoch":"boot-7f3e","wraps_at_joules":262143.328850}]}"#,
    );
    assert_eq!(post.stream, [0x0d, 0x3c, 0xb3, 0xa2, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0xbe, 0xef]);
    assert_eq!((post.seq, post.import, post.owner.canonical()), (7, false, "default/host/node-17".into()));
    assert_eq!(post.labels, Some(Labels::from([("team".into(), "nlp".into())])));
    let [gpu, cpu] = &post.context.devices[..] else { panic!("two devices") };
    assert_eq!(
        (gpu.key.to_string(), gpu.period_ns, gpu.modulus, gpu.epoch),
        ("gpu:GPU-5a1c".into(), 1_000_000_000, None, 0)
    );
    assert_eq!((cpu.key.to_string(), cpu.period_ns), ("cpu:package-0".into(), 60_000_000_000));
    assert_eq!(cpu.modulus, Some(Microjoules(262_143_328_850)));
    assert_ne!(cpu.epoch, 0);
    let [record] = &post.records[..] else { panic!("one instant, one record") };
    assert_eq!((record.at, record.context), (1_793_491_200_000_000_000, wire::context_id(&post.context)));
    let power = Sample { device: 0, power: Some(Milliwatts(412_500)), ..Sample::default() };
    let count = Sample { device: 1, counter: Some(Microjoules(123_456_789_000)), ..Sample::default() };
    assert_eq!(record.samples, [power, count]);
}

#[test]
fn a_value_that_is_none_is_refused_by_reason_and_never_blocks_the_rest() {
    for (value, reason) in [
        (r#""watts":null"#, Refusal::NoValue),
        (r#""period_ms":1000"#, Refusal::NoValue),
        (r#""watts":"NaN""#, Refusal::PowerNotFinite),
        (r#""watts":"412.5""#, Refusal::PowerNotFinite),
        (r#""watts":NaN"#, Refusal::PowerNotFinite),
        (r#""watts":-Infinity"#, Refusal::PowerNotFinite),
        (r#""watts":1e999"#, Refusal::PowerNotFinite),
        (r#""watts":true"#, Refusal::PowerNotFinite),
        (r#""watts":{"a":[1]}"#, Refusal::PowerNotFinite),
        (r#""watts":-1"#, Refusal::PowerNegative),
        (r#""watts":9223372036854775794"#, Refusal::Sentinel),
        (r#""joules":"x""#, Refusal::CounterNotFinite),
        (r#""joules":Infinity"#, Refusal::CounterNotFinite),
        (r#""joules":-0.5"#, Refusal::CounterNegative),
        (r#""joules":5,"wraps_at_joules":0"#, Refusal::CounterNotFinite),
        (r#""joules":5,"wraps_at_joules":"much""#, Refusal::CounterNotFinite),
    ] {
        let bad = format!(r#"{{"scope":"gpu","device":"bad","at_ms":1000,{value}}}"#);
        let rest = r#"{"scope":"gpu","device":"NaN-1","at_ms":1000,"watts":2}"#;
        let told = samples(&with(&format!("{bad},{rest}")));
        let refused = ("bad".into(), 1000, None, None, Some(reason));
        assert_eq!(told, [refused, ("NaN-1".into(), 1000, Some(2000), None, None)], "{value}");
    }
}

#[test]
fn a_bad_power_beside_a_good_counter_refuses_only_the_power() {
    let body = with(r#"{"scope":"gpu","device":"g","at_ms":1,"watts":-1,"joules":3}"#);
    let (good, bad) = (Some(3_000_000), Some(Refusal::PowerNegative));
    assert_eq!(samples(&body), [("g".into(), 1, None, good, None), ("g".into(), 1, None, None, bad)]);
}

#[test]
fn names_that_cannot_be_used_are_refused_by_name() {
    for (names, scope, device) in [
        (r#""scope":"gpus","device":"g""#, "gpus", "g"),
        (r#""device":"g""#, "", "g"),
        (r#""scope":7,"device":"g""#, "7", "g"),
        (r#""scope":"gpu","device":"a b""#, "gpu", "a b"),
        (r#""scope":"gpu","device":"<script>""#, "gpu", "<script>"),
        (r#""scope":"gpu","device":"a\"b""#, "gpu", "a\"b"),
        (r#""scope":"gpu","device":["x"]"#, "gpu", "[\"x\"]"),
    ] {
        let one = format!(r#"{{{names},"at_ms":1,"watts":1}}"#);
        let post = good(&with(&[one.as_str(), one.as_str()].join(",")));
        let [told] = &post.unnamed[..] else { panic!("{names}: {:?}", post.unnamed) };
        assert_eq!(
            (told.scope.as_str(), told.device.as_str(), told.reason, told.count),
            (scope, device, Refusal::BadName, 2)
        );
        assert!(post.records.is_empty());
    }
    let many: Vec<_> =
        (0..1000).map(|n| format!(r#"{{"scope":"gpu","device":"no {n}","at_ms":1,"watts":1}}"#)).collect();
    let post = good(&with(&many.join(",")));
    assert!(post.unnamed.len() <= 257, "the answer is stored, so it is bounded");
    assert_eq!(post.unnamed.iter().map(|told| told.count).sum::<u64>(), 1000);
}

#[test]
fn instants_outside_the_axis_are_refused_like_any_other() {
    for (at_ms, reason) in [("-1", Refusal::TooOld), ("9223372036854775807", Refusal::FromFuture)] {
        let post = good(&with(&format!(r#"{{"scope":"gpu","device":"g","at_ms":{at_ms},"watts":1}}"#)));
        assert_eq!(post.unnamed[0].reason, reason);
    }
}

#[test]
fn readings_are_put_in_order_of_time_and_a_step_keeps_its_order() {
    let reading = |device, at, watts| format!(r#"{{"scope":"gpu","device":"{device}","at_ms":{at},"watts":{watts}}}"#);
    let body = with(&[reading("a", 3, 1), reading("b", 1, 2), reading("a", 1, 9), reading("a", 1, 3)].join(","));
    let power = |device: &str, at, mw| (device.to_owned(), at, Some(mw), None, None);
    assert_eq!(samples(&body), [power("a", 1, 9000), power("b", 1, 2000), power("a", 1, 3000), power("a", 3, 1000)]);
    assert_eq!(good(&body).records.len(), 3, "a second value at one instant is a record of its own");
}

#[test]
fn power_and_counter_of_one_instant_are_one_sample_whichever_comes_first() {
    let power = r#"{"scope":"gpu","device":"g","at_ms":1,"watts":5,"period_ms":100}"#;
    let count = r#"{"scope":"gpu","device":"g","at_ms":1,"joules":7,"epoch":"e"}"#;
    for readings in [[power, count], [count, power]] {
        let body = with(&readings.join(","));
        assert_eq!(samples(&body), [("g".into(), 1, Some(5000), Some(7_000_000), None)]);
        assert_eq!(good(&body).context.devices[0].period_ns, 100_000_000);
    }
}

#[test]
fn two_epochs_of_one_device_are_two_declarations_of_one_account() {
    let count = |at, epoch| format!(r#"{{"scope":"gpu","device":"g","at_ms":{at},"joules":7,"epoch":"{epoch}"}}"#);
    let devices = good(&with(&[count(1, "one"), count(2, "two"), count(3, "one")].join(","))).context.devices;
    let [one, two] = &devices[..] else { panic!("two declarations") };
    assert_eq!(one.key, two.key);
    assert_ne!(one.epoch, two.epoch);
}

#[test]
fn a_body_that_cannot_be_understood_is_refused_with_its_fault_named() {
    let reading = |fields: &str| with(&format!(r#"{{"scope":"gpu","device":"g",{fields}}}"#));
    let deep = with(&("[".repeat(100_000) + &"]".repeat(100_000)));
    let cut = with(&"[".repeat(100_000));
    let many = (0..40).map(|n| format!(r#""k{n}":"v""#)).collect::<Vec<_>>().join(",");
    let labels = |labels: &str| format!(r#"{{"stream":"s","seq":1,"host":"n","labels":{labels},"readings":[]}}"#);
    for (body, code, named) in [
        (String::new(), "malformed-json", ""),
        ("[]".into(), "wrong-type", ""),
        ("{".into(), "malformed-json", ""),
        (with("") + "x", "malformed-json", "trailing"),
        (deep, "wrong-type", ""),
        (cut, "malformed-json", ""),
        (r#"{"stream":"s","seq":1,"host":"n"}"#.into(), "missing-field", "readings"),
        (r#"{"seq":1,"host":"n","readings":[]}"#.into(), "missing-field", "stream"),
        (r#"{"stream":"","seq":1,"host":"n","readings":[]}"#.into(), "bad-stream", "stream"),
        (r#"{"stream":"s","seq":0,"host":"n","readings":[]}"#.into(), "bad-seq", "seq"),
        (r#"{"stream":"s","seq":-1,"host":"n","readings":[]}"#.into(), "wrong-type", "-1"),
        (r#"{"stream":"s","seq":1.5,"host":"n","readings":[]}"#.into(), "wrong-type", "1.5"),
        (r#"{"stream":"s","seq":1,"seq":2,"host":"n","readings":[]}"#.into(), "duplicate-field", "seq"),
        (r#"{"stream":"s","seq":1,"host":"n","lables":{},"readings":[]}"#.into(), "unknown-field", "lables"),
        (r#"{"stream":"s","seq":1,"readings":[]}"#.into(), "bad-owner", "host"),
        (r#"{"stream":"s","seq":1,"host":"n","chassis":"c","readings":[]}"#.into(), "bad-owner", "exactly one"),
        (r#"{"stream":"s","seq":1,"host":"../x","readings":[]}"#.into(), "bad-name", "../x"),
        (r#"{"stream":"s","seq":1,"cluster":"","host":"n","readings":[]}"#.into(), "bad-name", "empty"),
        (labels(r#"{"a b":"x"}"#), "bad-label", "a b"),
        (labels(r#"{"team":"a\u0000b"}"#), "bad-label", "team"),
        (labels(r#"{"team":7}"#), "wrong-type", "7"),
        (labels(&format!("{{{many}}}")), "bad-label", "40"),
        (reading(r#""watts":1"#), "bad-time", "readings[0]"),
        (reading(r#""watts":1,"at_ms":null"#), "bad-time", "readings[0]"),
        (reading(r#""watts":1,"at_ms":"1793491200000""#), "bad-time", "readings[0]"),
        (reading(r#""watts":1,"at_ms":1793491200000.5"#), "bad-time", "1793491200000.5"),
        (reading(r#""watts":1,"at_ms":99999999999999999999"#), "bad-time", "readings[0]"),
        (reading(r#""watts":1,"at_ms":1,"period_ms":-5"#), "bad-period", "-5"),
        (reading(r#""wats":1,"at_ms":1"#), "unknown-field", "wats"),
    ] {
        let problem = decode(body.as_bytes()).expect_err(&body[..body.len().min(80)]);
        assert_eq!(problem.code(), code, "{body:.80}: {problem}");
        assert!(problem.to_string().contains(named), "{named}: {problem}");
    }
}

#[test]
fn a_stream_may_have_any_name_and_a_uuid_is_one_however_it_is_written() {
    let id = |name: &str| good(&format!(r#"{{"stream":"{name}","seq":1,"host":"n","readings":[]}}"#)).stream;
    assert_eq!(id("0D3CB3A2-0000-4000-8000-00000000BEEF"), id("0d3cb3a200004000800000000000beef"));
    assert_ne!(id("cron-1"), id("cron-2"));
}

#[test]
fn chassis_meters_and_clusters_are_owners_too() {
    let owner = |fields: &str| good(&format!(r#"{{"stream":"s","seq":1,{fields},"readings":[]}}"#)).owner.canonical();
    assert_eq!(owner(r#""chassis":"bmc-7","cluster":"c1""#), "c1/chassis/bmc-7");
    assert_eq!(owner(r#""meter":"pdu-1""#), "default/meter/pdu-1");
}

#[test]
fn a_period_is_60_s_unless_it_is_stated() {
    let period = |field: &str| {
        let body = with(&format!(r#"{{"scope":"gpu","device":"g","at_ms":1,"watts":1{field}}}"#));
        good(&body).context.devices[0].period_ns
    };
    assert_eq!(period(""), 60_000_000_000);
    assert_eq!(period(r#","period_ms":null"#), 60_000_000_000);
    assert_eq!(period(r#","period_ms":250"#), 250_000_000);
    assert_eq!(period(r#","period_ms":0"#), 0);
    assert_eq!(period(r#","period_ms":18446744073709551615"#), u64::MAX);
}
