//! Lists in pages: `limit` and an opaque `cursor`.
//!
//! A cursor names the last key that was given. What is added meanwhile shifts nothing: each item that
//! was there throughout is listed exactly once.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use meter::Owner;
use serde::Serialize;
use serde_json::json;

use super::problem::Problem;
use crate::query::Params;

/// Items of a page unless asked otherwise.
const LIMIT: usize = 100;
/// Most items of a page.
const LIMIT_MAX: usize = 10_000;

/// Which page is asked for.
pub(super) struct Page {
    limit: usize,
    after: Option<String>,
}

/// A page's items and where the next one begins.
#[derive(Serialize)]
pub(super) struct Paged<T> {
    pub(super) items: Vec<T>,
    pub(super) next_cursor: Option<String>,
}

impl Page {
    pub(super) fn read(params: &Params) -> Result<Self, Problem> {
        let limit = params.number("limit", LIMIT, 1..=LIMIT_MAX)?;
        let after = params.get("cursor").map(|cursor| {
            decode(cursor).ok_or_else(|| {
                Problem::bad_request("bad-cursor", "the cursor is none that was given here")
                    .with("parameter", json!("cursor"))
            })
        });
        Ok(Self { limit, after: after.transpose()? })
    }

    /// The items of this page. `keyed` has the keys in order and how to make an item of each; items
    /// are only made for the page.
    pub(super) fn of<K, T>(
        &self,
        keyed: impl IntoIterator<Item = (String, K)>,
        mut make: impl FnMut(K) -> Option<T>,
    ) -> Paged<T> {
        let mut items = Vec::new();
        let mut last = None;
        for (key, subject) in keyed {
            if self.after.as_ref().is_some_and(|after| key <= *after) {
                continue;
            }
            if items.len() == self.limit {
                return Paged { items, next_cursor: last.map(|key: String| encode(&key)) };
            }
            if let Some(item) = make(subject) {
                items.push(item);
                last = Some(key);
            }
        }
        Paged { items, next_cursor: None }
    }
}

/// Things that are added at the end of time, given the newest first, by keys that no newer one shifts. Those of one
/// instant are told apart by how many of it came before.
pub(super) fn newest_first<T>(items: Vec<T>, at: impl Fn(&T) -> &str) -> BTreeMap<String, T> {
    let mut before: BTreeMap<String, u32> = BTreeMap::new();
    let oldest_first = items.into_iter().rev().map(|item| {
        // Digits of an instant, each turned round: the newest sorts first.
        let turned: String = at(&item).chars().map(turn).collect();
        let count = before.entry(turned.clone()).or_default();
        *count += 1;
        (format!("{turned} {:010}", u32::MAX - *count), item)
    });
    oldest_first.collect()
}

/// A digit turned round, so that the greatest sorts first; the end of an instant sorts after every fraction of it.
fn turn(c: char) -> char {
    match c {
        '0'..='9' => char::from(b'9' - (c as u8 - b'0')),
        '.' => 'A',
        c => c,
    }
}

/// The key that owners are listed by. A space sorts before every character of a name.
pub(super) fn owner_key(owner: &Owner) -> String {
    format!("{} {} {}", owner.cluster, owner.kind, owner.name)
}

fn encode(key: &str) -> String {
    key.bytes().fold(String::with_capacity(2 * key.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn decode(cursor: &str) -> Option<String> {
    if !cursor.len().is_multiple_of(2) || !cursor.is_ascii() {
        return None;
    }
    let byte = |at| u8::from_str_radix(cursor.get(at..at + 2)?, 16).ok();
    String::from_utf8((0..cursor.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(keys: &mut Vec<String>, limit: usize, mut between: impl FnMut(&mut Vec<String>)) -> Vec<String> {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let query = cursor.map_or(format!("limit={limit}"), |cursor| format!("limit={limit}&cursor={cursor}"));
            let params = Params::read(&query, &["limit", "cursor"]).expect("good parameters");
            let page = Page::read(&params).expect("a page");
            let paged = page.of(keys.iter().map(|key| (key.clone(), key.clone())), Some);
            seen.extend(paged.items);
            match paged.next_cursor {
                Some(next) => cursor = Some(next),
                None => return seen,
            }
            between(keys);
        }
    }

    #[test]
    fn pages_list_each_item_once_also_while_items_are_added() {
        let mut keys: Vec<String> = (0..25).map(|n| format!("host-{n:03}")).collect();
        let all = keys.clone();
        assert_eq!(pages(&mut keys, 4, |_| ()), all);
        let mut added = 0;
        let seen = pages(&mut keys, 4, |keys| {
            added += 1;
            keys.insert(0, format!("a-{added}"));
            keys.sort();
        });
        assert_eq!(seen, all, "what was added before the cursor is not part of this listing");
    }

    #[test]
    fn what_is_added_shifts_nothing_the_newest_first() {
        let mut told: Vec<String> =
            ["2026-10-05T00:00:01Z", "2026-10-05T00:00:01.5Z", "2026-10-05T00:00:01.5Z", "2026-10-05T00:00:02Z"]
                .iter()
                .enumerate()
                .map(|(n, at)| format!("{at} {n}"))
                .collect();
        let listed = |told: &[String]| {
            newest_first(told.iter().rev().cloned().collect(), |one| one.split(' ').next().expect("an instant"))
        };
        let before = listed(&told);
        let order: Vec<&str> = before.values().filter_map(|one| one.rsplit(' ').next()).collect();
        assert_eq!(order, ["3", "2", "1", "0"]);
        told.push("2026-10-05T00:00:02Z 4".into());
        let after = listed(&told);
        assert_eq!(after.len(), 5);
        assert!(before.iter().all(|(key, one)| after.get(key) == Some(one)), "{before:?} {after:?}");
        assert_eq!(after.values().next().map(String::as_str), Some("2026-10-05T00:00:02Z 4"));
    }

    #[test]
    fn a_made_up_cursor_is_refused() {
        for cursor in ["x", "zz", "abc", "ff", "é"] {
            let params = Params::read(&format!("cursor={cursor}"), &["cursor"]).expect("good parameters");
            assert!(Page::read(&params).is_err(), "{cursor}");
        }
    }
}
