//! The one suite, on every engine.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::path::Path;

use store::{MemoryStore, Store, conformance, open_or_restore};

#[test]
fn memory_keeps_the_rules() {
    conformance::suite(|| Box::new(MemoryStore::new([1; 16], 1)));
}

#[test]
fn sled_keeps_the_rules() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let number = std::cell::Cell::new(0);
    conformance::suite(|| {
        number.set(number.get() + 1);
        Box::new(open(&root.path().join(format!("case-{}", number.get()))))
    });
}

fn open(data: &Path) -> impl Store + use<> {
    open_or_restore(data, &data.join("exports"), 1).expect("opens").store
}
