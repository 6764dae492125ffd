//! Any value comes back as it was; any bytes are answered and never cost more than the limits.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

use meter::{
    AccountKey, Allocation, Clock, Context, DeviceDecl, Energy, Labels, Mark, Microjoules, Milliwatts, Owner, Position,
    Reading, Record, Refusal, Sample, Scope, Span, Summary,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use wire::{Answer, Append, AppendAnswer, Hello, Post, RefusedCount, SentAt, WireError};

fn refusal() -> impl Strategy<Value = Refusal> {
    (0..16_u8).prop_map(|number| Refusal::from_number(number).expect("a reason"))
}

/// Numbers of every magnitude, often whole multiples of the units that packing looks for.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0..1000_u64, (0..u64::MAX / 1_000_000).prop_map(|n| n * 1_000_000), Just(u64::MAX)]
}

fn record(contexts: u64) -> impl Strategy<Value = Record> {
    let value = (proptest::option::of(number()), proptest::option::of(number()), proptest::option::of(refusal()));
    let samples = btree_map(0..512_u16, value, 0..12).prop_map(|samples| {
        let sample = |(device, (power, counter, refused)): (u16, (Option<u64>, Option<u64>, _))| Sample {
            device,
            power: power.map(Milliwatts),
            counter: counter.map(Microjoules),
            refused,
        };
        samples.into_iter().map(sample).collect()
    });
    (0..contexts, number(), samples).prop_map(|(context, at, samples)| Record {
        context,
        at,
        samples,
        ..Record::default()
    })
}

/// Spans of one device each, so that they are in order whatever they are.
fn summary() -> impl Strategy<Value = Record> {
    let values = || {
        prop_oneof![
            (number(), number()).prop_map(|(p, c)| (Some(p), Some(c))),
            number().prop_map(|p| (Some(p), None)),
            number().prop_map(|c| (None, Some(c)))
        ]
    };
    let energy = || (any::<u64>(), 0..2_000_000_i128).prop_map(|(uj, rest)| Energy(i128::from(uj) * 2_000_000 + rest));
    let span = (number(), 1..u64::MAX, values(), values(), energy(), energy(), number());
    let refused = vec((0..512_u16, refusal(), number()), 0..4);
    (any::<u64>(), number(), btree_map(0..512_u16, span, 0..5), refused).prop_map(|(context, at, spans, refused)| {
        let spans = spans.into_iter().map(|(device, (before, length, from, to, counter, integrated, readings))| {
            let begin = at - before.min(at);
            let reading = |at, (power, counter): (Option<u64>, Option<u64>)| Reading {
                at,
                power: power.map(Milliwatts),
                counter: counter.map(Microjoules),
            };
            let end = begin + length.min(at - begin);
            let (from, to) = (reading(begin, from), reading(end, to));
            // What has no length has one reading and no energy.
            if begin == end {
                return Span { device, from, to: from, readings, ..Span::default() };
            }
            Span { device, from, to, counter, integrated, readings }
        });
        let spans = spans.collect();
        Record { context, at, summary: Some(Box::new(Summary { spans, refused })), ..Record::default() }
    })
}

fn mark() -> impl Strategy<Value = Record> {
    let labels = btree_map("[a-z][a-z0-9_./-]{0,10}", "[ -~äß]{0,20}", 0..4);
    let devices = btree_set("[A-Za-z0-9._:/-]{1,20}", 0..5);
    let job = ("[a-z0-9_]{1,20}", "[a-zäß]{0,9}", "[a-z]{0,9}", labels, devices, 0..65_536_u32, 0..65_536_u32);
    let start = job.prop_map(|(id, user, account, labels, devices, cores, cores_of)| {
        let devices = devices.into_iter().map(Into::into).collect();
        let (cores, cores_of) = if cores_of > 0 { (cores % cores_of, cores_of) } else { (cores, 0) };
        let (id, user, account) = (id.into(), user.into(), account.into());
        Mark::Start(Allocation { id, user, account, labels, devices, cores, cores_of }.into())
    });
    let mark = prop_oneof![start, "[a-z0-9_]{1,20}".prop_map(|id| Mark::Stop(id.into())), Just(Mark::Cut)];
    (number(), mark).prop_map(|(at, mark)| Record { at, mark: Some(Box::new(mark)), ..Record::default() })
}

/// Looks, and now and then a summary of many or a mark.
fn records(contexts: u64) -> impl Strategy<Value = Vec<Record>> {
    vec(
        prop_oneof![9 => record(contexts), 1 => (prop_oneof![summary(), mark()], 0..contexts).prop_map(|(other, context)| Record { context, ..other })],
        0..20,
    )
}

fn context() -> impl Strategy<Value = Context> {
    let device =
        (0..10_usize, "[A-Za-z0-9._:/-]{0,40}", number(), number(), proptest::option::of(number()), any::<u64>());
    let device = device.prop_map(|(scope, name, period_ns, limit, modulus, epoch)| DeviceDecl {
        key: AccountKey::new(Scope::ALL[scope], &name).expect("a good name"),
        period_ns,
        limit: Milliwatts(limit),
        modulus: modulus.map(Microjoules),
        epoch,
    });
    let clock = prop_oneof![Just(Clock::Utc), any::<[u8; 16]>().prop_map(Clock::Boot)];
    (clock, any::<i64>(), vec(device, 0..6)).prop_map(|(clock, wall_offset_ns, devices)| Context {
        clock,
        wall_offset_ns,
        devices,
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    let labels = btree_map("[a-z][a-z0-9_./-]{0,10}", "[ -~äß]{0,20}", 0..4);
    (any::<Option<[u8; 16]>>(), labels, "[ -~]{0,30}", vec(context(), 0..4)).prop_map(
        |(fingerprint, labels, agent, contexts)| Hello { fingerprint, labels: Labels::from(labels), agent, contexts },
    )
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), any::<[u8; 16]>()).prop_map(|(seq, digest)| Position { seq, digest })
}

fn post() -> impl Strategy<Value = Post> {
    let owner = "[A-Za-z0-9._:@+-]{1,30}".prop_map(|name| Owner::host(&name).expect("a good name"));
    let live = vec(record(u64::MAX), 0..3);
    let append = (any::<[u8; 16]>(), owner, proptest::option::of(hello()), position(), any::<bool>(), records(4), live);
    let append = append.prop_map(|(stream, owner, hello, base, import, records, live)| Append {
        stream,
        owner,
        hello,
        base,
        import,
        records,
        live,
    });
    let sent = any::<Option<([u8; 16], u64, i64)>>();
    (sent, vec(append, 0..4)).prop_map(|(sent, appends)| Post {
        sent: sent.map(|(boot, boot_ns, wall_ns)| SentAt { boot, boot_ns, wall_ns }),
        appends,
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let refused = (0..10_usize, ".{0,20}", refusal(), any::<u64>())
        .prop_map(|(scope, device, reason, count)| RefusedCount { scope: Scope::ALL[scope], device, reason, count });
    let one = prop_oneof![
        (position(), any::<u64>(), any::<u64>(), vec(refused, 0..4))
            .prop_map(|(at, booked, fenced, refused)| AppendAnswer::Durable { at, booked, fenced, refused }),
        position().prop_map(AppendAnswer::Stands),
        Just(AppendAnswer::SayHello),
        (".{0,20}", ".{0,40}").prop_map(|(code, detail)| AppendAnswer::Rejected { code, detail }),
    ];
    (any::<[u8; 16]>(), any::<u64>(), vec(one, 0..5)).prop_map(|(ledger, generation, answers)| Answer {
        ledger,
        generation,
        answers,
    })
}

proptest! {
    #[test]
    fn posts_come_back_as_they_were(post in post()) {
        prop_assert_eq!(wire::decode_post(&wire::encode_post(&post).expect("encodes")), Ok(post));
    }

    #[test]
    fn answers_come_back_as_they_were(answer in answer()) {
        prop_assert_eq!(wire::decode_answer(&wire::encode_answer(&answer).expect("encodes")), Ok(answer));
    }

    #[test]
    fn records_and_contexts_come_back_as_they_were(record in record(u64::MAX), summary in summary(), context in context()) {
        prop_assert_eq!(wire::decode_record(&wire::encode_record(&record)), Ok(record));
        prop_assert_eq!(wire::decode_record(&wire::encode_record(&summary)), Ok(summary));
        prop_assert_eq!(wire::decode_context(&wire::encode_context(&context)), Ok(context));
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..400)) {
        for version in [false, true] {
            let mut bytes = bytes.clone();
            if version {
                bytes.insert(0, wire::VERSION);
            }
            let _ = (wire::decode_post(&bytes), wire::decode_answer(&bytes));
            // Canonical bytes have one form only: what decodes encodes to itself.
            if let Ok(record) = wire::decode_record(&bytes) {
                prop_assert_eq!(wire::encode_record(&record), bytes.clone());
            }
            if let Ok(context) = wire::decode_context(&bytes) {
                prop_assert_eq!(wire::encode_context(&context), bytes);
            }
        }
    }

    #[test]
    fn a_cut_post_is_refused_at_every_byte(post in post()) {
        let bytes = wire::encode_post(&post).expect("encodes");
        for end in 0..bytes.len() {
            prop_assert!(wire::decode_post(&bytes[..end]).is_err(), "cut at {}", end);
        }
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(wire::decode_post(&longer), Err(WireError::LeftOver(1)));
    }

    #[test]
    fn flipped_bits_never_panic_and_what_decodes_is_lawful(post in post(), flips in btree_set(any::<usize>(), 1..4)) {
        let mut bytes = wire::encode_post(&post).expect("encodes");
        for flip in flips {
            let bits = bytes.len() * 8;
            bytes[flip % bits / 8] ^= 1 << (flip % 8);
        }
        if let Ok(post) = wire::decode_post(&bytes) {
            prop_assert_eq!(wire::decode_post(&wire::encode_post(&post).expect("encodes")), Ok(post));
        }
    }
}

fn append(records: Vec<Record>) -> Append {
    let owner = Owner::host("n").expect("a good name");
    Append { stream: [1; 16], owner, hello: None, base: Position::default(), import: false, records, live: vec![] }
}

fn idle(at: u64, samples: u16) -> Record {
    let sample = |device| Sample { device, power: Some(Milliwatts(0)), ..Sample::default() };
    Record { context: 1, at, samples: (0..samples).map(sample).collect(), ..Record::default() }
}

#[test]
fn limits_hold_on_both_ends() {
    let too_many = |post: &Post| matches!(wire::encode_post(post), Err(WireError::TooMany { .. }));
    let post = |appends| Post { sent: None, appends };
    assert!(too_many(&post((0..1025).map(|_| append(vec![])).collect())), "appends");
    assert!(too_many(&post(vec![append((0..65_537).map(|at| idle(at, 0)).collect())])), "records");
    assert!(too_many(&post(vec![append((0..513).map(|at| idle(at, 512)).collect())])), "samples");
    let many = (0..65).map(|context| Record { context, ..idle(1, 1) }).collect();
    assert!(too_many(&post(vec![append(many)])), "contexts of an append");
    let far = Record { samples: vec![Sample { device: 512, ..Sample::default() }], ..idle(1, 0) };
    assert!(too_many(&post(vec![append(vec![far])])), "devices");
    let twice = Record { samples: vec![Sample::default(); 2], ..idle(1, 0) };
    assert!(matches!(wire::encode_post(&post(vec![append(vec![twice])])), Err(WireError::Malformed(_))));
    // The most that is allowed is accepted by the other end too.
    let full = post(vec![append((0..512).map(|at| idle(at, 512)).collect())]);
    assert_eq!(wire::decode_post(&wire::encode_post(&full).expect("encodes")), Ok(full));
}

#[test]
fn a_full_body_passes_the_limit_of_the_envelope() {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        Some(Milliwatts(seed >> 8))
    };
    let mut record = |at| Record {
        samples: (0..10).map(|device| Sample { device, power: noise(), ..Sample::default() }).collect(),
        ..idle(at, 0)
    };
    // 1000 owners with 10 records of 10 incompressible values each: 0.88 MiB.
    let appends = (0..1000).map(|_| append((0..10).map(&mut record).collect())).collect();
    let post = Post { sent: None, appends };
    let bytes = wire::encode_post(&post).expect("encodes");
    assert!(bytes.len() > 850_000, "{}", bytes.len());
    assert_eq!(wire::decode_post(&bytes), Ok(post));
}

/// Peak resident memory of this process in bytes.
#[expect(clippy::disallowed_methods, reason = "a test measures its own process")]
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    line.split_whitespace().nth(1).expect("a number").parse::<usize>().expect("a number") * 1024
}

#[test]
fn bombs_are_refused_without_going_off() {
    let before = peak();
    // version, no clocks, then 2^60 (and 2^40) appends.
    for length in [1_u64 << 60, 1 << 40] {
        let bytes = [&[1, 0, 253][..], &length.to_le_bytes()].concat();
        assert!(wire::decode_post(&bytes).is_err());
        let bytes = [&[1][..], &[7; 16], &[0, 253], &length.to_le_bytes()].concat();
        assert!(wire::decode_answer(&bytes).is_err());
    }
    // A megabyte of "the same 512 devices again", and one of records without any sample.
    let (mut wide, mut hollow) = (vec![1], vec![1]);
    for packed in [&mut wide, &mut hollow] {
        packed.extend([7; 8]);
        packed.push(0);
        packed.extend([0xff, 0xff, 3]);
    }
    wide.extend([1, 1, 0, 0x80, 4, 1]);
    wide.resize(1_000_000, 0);
    hollow.extend([1, 0, 0].repeat(330_000));
    for packed in [wide, hollow] {
        let mut bytes = wire::encode_post(&Post { sent: None, appends: vec![append(vec![])] }).expect("encodes");
        // The empty pack (no contexts, no records) is the last thing in the post.
        assert_eq!(bytes.split_off(bytes.len() - 3), [2, 0, 0]);
        bytes.push(252);
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(packed);
        let refused = wire::decode_post(&bytes);
        assert!(matches!(refused, Err(WireError::TooMany { .. } | WireError::LeftOver(_))), "{refused:?}");
    }
    let grown = peak() - before;
    assert!(grown < 96 << 20, "{} MiB", grown >> 20);
}

#[test]
fn ten_devices_for_ten_seconds_cost_at_most_four_bytes_a_sample() {
    let bytes = wire::encode_post(&Post { sent: None, appends: vec![append(typical(10))] }).expect("encodes");
    let empty = wire::encode_post(&Post { sent: None, appends: vec![append(vec![])] }).expect("encodes");
    let per_sample = |bytes: usize| bytes as f64 / 100.0;
    println!("{} B/sample in all, {} for the records", per_sample(bytes.len()), per_sample(bytes.len() - empty.len()));
    assert!(per_sample(bytes.len()) <= 4.0);
    assert!(per_sample(bytes.len() - empty.len()) <= 3.2);
}

/// Ten GPUs at 1 Hz ± 3 ms, 300 W to 700 W ± 4 W, by a fixed generator.
fn typical(ticks: u64) -> Vec<Record> {
    let mut seed = 7_u64;
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    (0..ticks)
        .map(|tick| {
            let at = 86_400_000_000_000 + tick * 1_000_000_000 + random(6_000_000);
            let mut power = |device: u64| Some(Milliwatts(300_000 + 40_000 * device - 4000 + random(8000)));
            let samples =
                (0..10).map(|device| Sample { device, power: power(device.into()), ..Sample::default() }).collect();
            Record { context: 0x0123_4567_89ab_cdef, at, samples, ..Record::default() }
        })
        .collect()
}
