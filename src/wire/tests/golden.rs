//! The bytes of version 1 are frozen: agents two versions apart, spools and stored digests depend
//! on them. The constants come from a separate program (Python, with its own LEB128, bincode and
//! the `blake3` package), not from this crate.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

use meter::{
    AccountKey, Allocation, Clock, Context, DeviceDecl, Energy, Labels, Mark, Microjoules, Milliwatts, Owner, Position,
    Reading, Record, Refusal, Sample, Scope, Span, Summary,
};
use wire::{Answer, Append, AppendAnswer, Hello, Post, RefusedCount, SentAt, WireError};

const CONTEXT: &str = "0101000102030405060708090a0b0c0d0e0f090203054750552d318094ebdc03e0dc2a000901097061636b6167652d30000001d284d7c7d00707";
const CONTEXT_ID: u64 = 0x1d5f_f89f_af57_9290;
const RECORDS: [&str; 3] = [
    "01909257af9ff85f1de807020001d496190102c096b102",
    "01909257af9ff85f1db817020001f095190102c0a8a504",
    "01909257af9ff85f1d88270200040201030107",
];
const DIGESTS: [&str; 3] =
    ["be9b5d38ecdbd00e1e1e136eaa8584df", "b15b4dc7130b4537bb6978e16cbb887a", "b0543ced1c51d2daa4924de34eebf92a"];
const POST: &str = "0101000102030405060708090a0b0c0d0e0ffcc82c0100fd000094f77c85c73101aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
0764656661756c7400076e6f64652d31370101bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb01047465616d036e6c7016776174746c65646765722d6167\
656e742f302e312e30013a0101000102030405060708090a0b0c0d0e0f090203054750552d318094ebdc03e0dc2a000901097061636b6167652d30\
000001d284d7c7d00707fb2c01cccccccccccccccccccccccccccccccc003101909257af9ff85f1d0103010200010100010202a8ad3280ade20400\
02c701ff887a0102000104000103000202f1f4b20c";
const ANSWER: &str = "01ddddddddddddddddddddddddddddddddfd00e86794a10100000400fb2f01eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee05000103\
054750552d310201010711111111111111111111111111111111020314686f73742d626f756e642d656c73657768657265236e6f64652d31372069\
7320626f756e6420746f20616e6f74686572206d616368696e65";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

fn boot() -> [u8; 16] {
    std::array::from_fn(|place| place as u8)
}

fn context() -> Context {
    let device = |scope, name, period_ns, limit, modulus: Option<u64>, epoch| DeviceDecl {
        key: AccountKey::new(scope, name).expect("a good name"),
        period_ns,
        limit: Milliwatts(limit),
        modulus: modulus.map(Microjoules),
        epoch,
    };
    Context {
        clock: Clock::Boot(boot()),
        wall_offset_ns: -5,
        devices: vec![
            device(Scope::Gpu, "GPU-1", 1_000_000_000, 700_000, None, 9),
            device(Scope::Cpu, "package-0", 0, 0, Some(262_143_328_850), 7),
        ],
    }
}

fn records() -> Vec<Record> {
    let record = |at, samples| Record { context: CONTEXT_ID, at, samples, ..Record::default() };
    let power = |mw| Sample { power: Some(Milliwatts(mw)), ..Sample::default() };
    let counter = |uj| Sample { device: 1, counter: Some(Microjoules(uj)), ..Sample::default() };
    vec![
        record(1000, vec![power(412_500), counter(5_000_000)]),
        record(3000, vec![power(412_400), counter(9_000_000)]),
        record(
            5000,
            vec![
                Sample { refused: Some(Refusal::Sentinel), ..Sample::default() },
                Sample { power: Some(Milliwatts(1)), ..counter(7) },
            ],
        ),
    ]
}

fn post() -> Post {
    Post {
        sent: Some(SentAt { boot: boot(), boot_ns: 77_000, wall_ns: 1_793_491_200_000_000_000 }),
        appends: vec![Append {
            stream: [0xaa; 16],
            owner: Owner::host("node-17").expect("a good name"),
            hello: Some(Hello {
                fingerprint: Some([0xbb; 16]),
                labels: Labels::from([("team".into(), "nlp".into())]),
                agent: "wattledger-agent/0.1.0".into(),
                contexts: vec![context()],
            }),
            base: Position { seq: 300, digest: [0xcc; 16] },
            import: false,
            records: records(),
            live: vec![],
        }],
    }
}

fn answer() -> Answer {
    let refused = RefusedCount { scope: Scope::Gpu, device: "GPU-1".into(), reason: Refusal::Sentinel, count: 1 };
    Answer {
        ledger: [0xdd; 16],
        generation: 1_793_491_200_000,
        answers: vec![
            AppendAnswer::Durable {
                at: Position { seq: 303, digest: [0xee; 16] },
                booked: 5,
                fenced: 0,
                refused: vec![refused],
            },
            AppendAnswer::Stands(Position { seq: 7, digest: [0x11; 16] }),
            AppendAnswer::SayHello,
            AppendAnswer::Rejected {
                code: "host-bound-elsewhere".into(),
                detail: "node-17 is bound to another machine".into(),
            },
        ],
    }
}

#[test]
fn a_record_worked_out_by_hand() {
    // version 01 · context 0x0102030405060708, low byte first · at 1000 = 7·128 + 104: e8 07 ·
    // one sample · device 0 · tag 1, power only · 412500 mW = 25·128² + 22·128 + 84: d4 96 19.
    let record = Record {
        context: 0x0102_0304_0506_0708,
        at: 1000,
        samples: vec![Sample { power: Some(Milliwatts(412_500)), ..Sample::default() }],
        ..Record::default()
    };
    assert_eq!(hex(&wire::encode_record(&record)), "010807060504030201e807010001d49619");
}

#[test]
fn a_summary_worked_out_by_hand() {
    let span = Span {
        device: 3,
        from: Reading { at: 400, power: Some(Milliwatts(5)), counter: None },
        to: Reading { at: 900, power: Some(Milliwatts(6)), counter: Some(Microjoules(300)) },
        counter: Energy::ZERO,
        integrated: Energy(2_000_000 * 128 + 7),
        readings: 60,
    };
    let summary = Summary { spans: vec![span], refused: vec![(4, Refusal::Sentinel, 2)] };
    let record =
        Record { context: 0x0102_0304_0506_0708, at: 1000, summary: Some(Box::new(summary)), ..Record::default() };
    // version 02 · context · at 1000 · one span: device 3 · tag 1 + 4 + 8 · 600 ns before: d8 04 · 500 ns long: f4 03 ·
    // 5 mW · 6 mW · 300 µJ: ac 02 · no counter energy · 128 µJ: 80 01, and 7 · 60 readings ·
    // one refusal: device 4 · reason 2 · 2 times.
    let expected = "020807060504030201e80701030dd804f4030506ac0200008001073c01040202";
    assert_eq!(hex(&wire::encode_record(&record)), expected);
    assert_eq!(wire::decode_record(&bytes(expected)), Ok(record));
    // A span that ends before it begins, or beyond its record, is none.
    let beyond = "020807060504030201e80701030dd804f4050506ac0200008001073c01040202";
    assert_eq!(wire::decode_record(&bytes(beyond)), Err(WireError::Malformed("a span outside its record")));
}

#[test]
fn marks_worked_out_by_hand() {
    let allocation = Allocation {
        id: "47".into(),
        user: "ann".into(),
        account: "".into(),
        labels: Labels::from([("p".into(), "q".into())]),
        devices: vec!["a".into(), "b".into()],
        cores: 64,
        cores_of: 256,
    };
    let record =
        |mark| Record { context: 0x0102_0304_0506_0708, at: 1000, mark: Some(Box::new(mark)), ..Record::default() };
    // version 03 · context · at 1000 · begins 00 · "47" · "ann" · "" · one label "p" "q" · two devices "a" "b" ·
    // 64 cores · of 256: 80 02. Then one that ends, and one that only cuts.
    for (mark, expected) in [
        (Mark::Start(allocation.into()), "030807060504030201e807000234370361 6e6e0001017001710201610162408002"),
        (Mark::Stop("47".into()), "030807060504030201e80701023437"),
        (Mark::Cut, "030807060504030201e80702"),
    ] {
        let expected = expected.replace(' ', "");
        assert_eq!(hex(&wire::encode_record(&record(mark.clone()))), expected);
        assert_eq!(wire::decode_record(&bytes(&expected)), Ok(record(mark)));
    }
    // Devices out of order, labels twice, no id, more cores than there are, an id that is a line of nobody's.
    for bad in [
        "000234370361 6e6e0001017001710201620161408002",
        "000234370361 6e6e00020170017101700171020161016240 8002",
        "00000361 6e6e000101700171020161016240 8002",
        "000234370361 6e6e000101700171020161016280 0240",
        "010228 69",
        "03",
    ] {
        let bad = format!("030807060504030201e807{}", bad.replace(' ', ""));
        assert!(matches!(wire::decode_record(&bytes(&bad)), Err(WireError::Malformed(_))), "{bad}");
    }
}

#[test]
fn a_mark_in_a_post_worked_out_by_hand() {
    let mark = Record { context: 1, at: 7, mark: Some(Box::new(Mark::Cut)), ..Record::default() };
    let mut post = post();
    post.appends[0].hello = None;
    post.appends[0].records = vec![mark];
    let packed = wire::encode_post(&post).expect("a good post");
    // One context, units 1 ns and 10^9 · one record: place 0, shape follows · no runs · 7 in zigzag · section 03 ·
    // one mark · of record 0 · 11 bytes.
    let golden = "01 0100000000000000 0c 01 01 00 0e 03 01 00 0b 03 0100000000000000 07 02".replace(' ', "");
    assert!(hex(&packed).ends_with(&golden), "{}", hex(&packed));
    assert_eq!(wire::decode_post(&packed), Ok(post));
}

#[test]
fn canonical_records_and_their_digests_are_frozen() {
    let mut digest = [0; 16];
    for ((record, expected), link) in records().iter().zip(RECORDS).zip(DIGESTS) {
        assert_eq!(hex(&wire::encode_record(record)), expected);
        assert_eq!(wire::decode_record(&bytes(expected)).as_ref(), Ok(record));
        digest = wire::chain(&digest, &bytes(expected));
        assert_eq!(hex(&digest), link);
    }
    assert_eq!(wire::advance(Position::default(), &records()), Position { seq: 3, digest });
}

#[test]
fn canonical_contexts_and_their_ids_are_frozen() {
    assert_eq!(hex(&wire::encode_context(&context())), CONTEXT);
    assert_eq!(wire::decode_context(&bytes(CONTEXT)), Ok(context()));
    assert_eq!(wire::context_id(&context()), CONTEXT_ID);
}

#[test]
fn posts_are_frozen() {
    assert_eq!(hex(&wire::encode_post(&post()).expect("a good post")), POST);
    assert_eq!(wire::decode_post(&bytes(POST)), Ok(post()));
}

#[test]
fn answers_are_frozen() {
    assert_eq!(hex(&wire::encode_answer(&answer()).expect("a good answer")), ANSWER);
    assert_eq!(wire::decode_answer(&bytes(ANSWER)), Ok(answer()));
}

#[test]
fn another_version_is_named() {
    let mut foreign = bytes(POST);
    foreign[0] = 255;
    assert_eq!(wire::decode_post(&foreign), Err(WireError::Version(255)));
    assert_eq!(wire::decode_answer(&[2]), Err(WireError::Version(2)));
    assert_eq!(wire::decode_record(&[9, 0]), Err(WireError::Version(9)));
    assert!(WireError::Version(255).to_string().contains("wire version 255"));
}

#[test]
fn names_in_a_post_are_checked() {
    let position = POST.find("6e6f64652d3137").expect("node-17") / 2;
    let mut hostile = bytes(POST);
    hostile[position] = b'/';
    assert!(matches!(wire::decode_post(&hostile), Err(WireError::Name(_))), "an owner's name");
    let position = POST.find("4750552d31").expect("GPU-1") / 2;
    let mut hostile = bytes(POST);
    hostile[position] = b'"';
    assert!(matches!(wire::decode_post(&hostile), Err(WireError::Name(_))), "a device's name");
    let position = POST.find("7465616d").expect("team") / 2;
    let mut hostile = bytes(POST);
    hostile[position] = b'\n';
    assert!(matches!(wire::decode_post(&hostile), Err(WireError::Malformed(_))), "a label's key");
}
