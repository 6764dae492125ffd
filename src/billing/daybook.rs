//! The day book: what was billed on days that are over, kept so that long windows need not be worked out from every
//! device's cells again.
//!
//! It is derived and disposable: a file per UTC day beside the ledger, which may be deleted at any time and never
//! goes into exports. Each page says by a digest ([`Basis`]) what it was worked out from: the day's history, the
//! topology, the accounts' own word on their holes. A page whose digest differs from that of now is not used, nor is
//! a file that is not what was written. Labels and prices are not in it: they are applied when it is read.
//!
//! ```text
//! <dir>/<date>.day
//!   8 bytes of name and version
//!   per partition: offset(8), and for each of two texts length(4) and checksum(16)
//!   the texts
//! ```
//! A checksum covers the ledger's id and generation, the day and the partition too, so that no file passes for
//! another.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use meter::{Owner, PARTS};
use store::Identity;

pub mod page;

use page::Page;

/// The name of the format, and its version.
const MAGIC: &[u8; 8] = b"wlday\0\0\x01";
/// Bytes of a partition's line in the table.
const LINE: usize = 8 + 2 * (4 + CHECK);
const CHECK: usize = 16;
const TABLE: usize = LINE * PARTS as usize;
/// How file names end.
const ENDING: &str = ".day";

/// A digest of everything that a page was worked out from.
pub type Basis = [u8; 16];

/// The folder of days.
#[derive(Debug)]
pub struct DayBook {
    directory: PathBuf,
    identity: Identity,
    max_bytes: u64,
}

/// Whose page, what it was worked out from, and how long its texts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title {
    /// Whose.
    pub owner: Owner,
    /// What it was worked out from.
    pub basis: Basis,
    /// The newest rows, of the owner and of its chassis, whose postings may be in it: who holds an older row must not
    /// use it.
    pub versions: [u64; 2],
    lengths: [u32; 2],
}

/// The pages of one partition's day.
#[derive(Debug, Default)]
pub struct Pages {
    titles: Vec<Title>,
    /// Where the pages begin in the first text.
    texts_from: usize,
    text: Vec<u8>,
    scopes: Option<Vec<u8>>,
}

/// A page to be kept.
#[derive(Debug)]
pub struct Entry {
    /// Whose.
    pub owner: Owner,
    /// What it was worked out from.
    pub basis: Basis,
    /// See [`Title::versions`].
    pub versions: [u64; 2],
    /// The page.
    pub page: Page,
}

impl DayBook {
    /// The book of a ledger in a folder, which is made if it is missing; it keeps the newest days, up to so many bytes.
    ///
    /// # Errors
    /// If the folder cannot be made, or a link is in its place.
    pub fn open(directory: &Path, identity: Identity, max_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if fs::symlink_metadata(directory)?.is_symlink() {
            return Err(io::Error::other("it is a symbolic link: name the directory itself"));
        }
        Ok(Self { directory: directory.into(), identity, max_bytes })
    }

    /// The pages of a partition's day, with or without scopes; nothing if there are none or they are not what was
    /// written.
    #[must_use]
    pub fn read(&self, day: i32, part: u8, with_scopes: bool) -> Option<Pages> {
        let file = File::open(self.path(day)?).ok()?;
        let size = file.metadata().ok()?.len();
        let mut head = [0; MAGIC.len() + TABLE];
        file.read_exact_at(&mut head, 0).ok()?;
        let line = head.strip_prefix(MAGIC)?.as_chunks::<LINE>().0.get(usize::from(part))?;
        let (offset, rest) = line.split_first_chunk::<8>()?;
        let (offset, mut texts) = (u64::from_le_bytes(*offset), [const { Vec::new() }; 2]);
        let mut at = offset;
        for (kind, about) in rest.as_chunks::<{ 4 + CHECK }>().0.iter().enumerate() {
            let (length, check) = about.split_first_chunk::<4>()?;
            let length = u32::from_le_bytes(*length);
            if kind == 0 || with_scopes {
                if at.checked_add(length.into())? > size {
                    return self.damaged(day);
                }
                let mut text = vec![0; usize::try_from(length).ok()?];
                file.read_exact_at(&mut text, at).ok()?;
                if self.check(day, part, kind, &text) != *check {
                    return self.damaged(day);
                }
                texts[kind] = text;
            }
            at = at.checked_add(length.into())?;
        }
        let [text, scopes] = texts;
        Pages::of(text, with_scopes.then_some(scopes))
    }

    /// Keeps a day's pages by partition, in place of those before. Days that do not fit are let go, the oldest first.
    ///
    /// # Errors
    /// If the file cannot be written; the one before stays.
    pub fn keep(&self, day: i32, parts: &[Vec<Entry>]) -> io::Result<()> {
        let path = self.path(day).ok_or_else(|| io::Error::other("a day that no calendar knows"))?;
        let (mut table, mut body) = (Vec::with_capacity(TABLE), Vec::new());
        for part in 0..PARTS {
            let entries = parts.get(usize::from(part)).map_or(&[][..], Vec::as_slice);
            table.extend(((MAGIC.len() + TABLE + body.len()) as u64).to_le_bytes());
            for (kind, text) in texts(entries).into_iter().enumerate() {
                table.extend(length(&text)?.to_le_bytes());
                table.extend(self.check(day, part, kind, &text));
                body.extend(text);
            }
        }
        let partial = self.directory.join("making.partial");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        [&MAGIC[..], &table, &body].into_iter().try_for_each(|bytes| file.write_all(bytes))?;
        fs::rename(&partial, path)?;
        self.let_go()
    }

    /// The days that there are files of, in order, with their bytes.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn days(&self) -> io::Result<Vec<(i32, u64)>> {
        let mut days = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let date = name.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|date| date.parse().ok());
            if let Some(day) = date.and_then(number_of) {
                days.push((day, entry.metadata()?.len()));
            }
        }
        days.sort_unstable();
        Ok(days)
    }

    /// Whether the book is so full that a day older than all in it would be let go at once.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn is_full_before(&self, day: i32) -> io::Result<bool> {
        let days = self.days()?;
        let bytes: u64 = days.iter().map(|(_, bytes)| bytes).sum();
        let mean = bytes / (days.len() as u64).max(1);
        Ok(days.first().is_some_and(|(first, _)| *first > day) && bytes + mean > self.max_bytes)
    }

    fn let_go(&self) -> io::Result<()> {
        let days = self.days()?;
        let mut bytes: u64 = days.iter().map(|(_, bytes)| bytes).sum();
        for (day, size) in days {
            if bytes <= self.max_bytes {
                break;
            }
            if let Some(path) = self.path(day) {
                fs::remove_file(path)?;
            }
            bytes -= size;
        }
        Ok(())
    }

    fn path(&self, day: i32) -> Option<PathBuf> {
        Some(self.directory.join(format!("{}{ENDING}", date_of(day)?)))
    }

    fn check(&self, day: i32, part: u8, kind: usize, text: &[u8]) -> [u8; CHECK] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(MAGIC).update(&self.identity.ledger).update(&self.identity.generation.to_le_bytes());
        hasher.update(&day.to_le_bytes()).update(&[part, u8::from(kind > 0)]).update(text);
        let mut check = [0; CHECK];
        check.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK]);
        check
    }

    fn damaged<T>(&self, day: i32) -> Option<T> {
        tracing::debug!(day, "a file of the day book is not what was written for this ledger; it is not used");
        None
    }
}

impl Pages {
    fn of(text: Vec<u8>, scopes: Option<Vec<u8>>) -> Option<Self> {
        let (mut titles, mut rest) = (Vec::new(), &text[..]);
        let (count, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        for _ in 0..u32::from_le_bytes(*count) {
            let (title, after) = Title::read(rest)?;
            titles.push(title);
            rest = after;
        }
        let texts_from = text.len() - rest.len();
        Some(Self { titles, texts_from, text, scopes })
    }

    /// Whose pages there are: title, the owner as a whole, and the page by scope if that was read.
    pub fn iter(&self) -> impl Iterator<Item = (&Title, &[u8], Option<&[u8]>)> {
        let mut at = [self.texts_from, 0];
        self.titles.iter().map_while(move |title| {
            let [text, scopes] = title.lengths.map(|length| length as usize);
            let whole = self.text.get(at[0]..at[0] + text)?;
            let divided = match &self.scopes {
                Some(all) => Some(all.get(at[1]..at[1] + scopes)?),
                None => None,
            };
            at = [at[0] + text, at[1] + scopes];
            Some((title, whole, divided))
        })
    }
}

impl Title {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (length, bytes) = bytes.split_first_chunk::<2>()?;
        let (name, bytes) = bytes.split_at_checked(u16::from_le_bytes(*length).into())?;
        let owner = std::str::from_utf8(name).ok()?.parse().ok()?;
        let (basis, bytes) = bytes.split_first_chunk::<16>()?;
        let (own, bytes) = bytes.split_first_chunk::<8>()?;
        let (chassis, bytes) = bytes.split_first_chunk::<8>()?;
        let (text, bytes) = bytes.split_first_chunk::<4>()?;
        let (scopes, bytes) = bytes.split_first_chunk::<4>()?;
        let versions = [own, chassis].map(|version| u64::from_le_bytes(*version));
        let lengths = [text, scopes].map(|length| u32::from_le_bytes(*length));
        Some((Self { owner, basis: *basis, versions, lengths }, bytes))
    }
}

/// The two texts of a partition: titles and pages, and the pages by scope.
fn texts(entries: &[Entry]) -> [Vec<u8>; 2] {
    let mut text = Vec::new();
    text.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_le_bytes());
    for Entry { owner, basis, versions, page } in entries {
        let name = owner.canonical();
        text.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
        text.extend(name.as_bytes());
        text.extend(basis);
        versions.iter().for_each(|version| text.extend(version.to_le_bytes()));
        for length in [page.text.len(), page.scopes.len()] {
            text.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    entries.iter().for_each(|entry| text.extend(&entry.page.text));
    [text, entries.iter().flat_map(|entry| entry.page.scopes.iter().copied()).collect()]
}

fn length(text: &[u8]) -> io::Result<u32> {
    u32::try_from(text.len()).map_err(|_| io::Error::other("a partition's day beyond 4 GiB"))
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

fn date_of(day: i32) -> Option<Date> {
    EPOCH.checked_add(jiff::Span::new().try_days(day).ok()?).ok()
}

fn number_of(date: Date) -> Option<i32> {
    Some((date - EPOCH).get_days())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i32 = 20_727;

    fn identity(generation: u64) -> Identity {
        Identity { ledger: [7; 16], generation }
    }

    fn parts(bytes: usize) -> Vec<Vec<Entry>> {
        let owner = Owner::host("n1").expect("a good name");
        let mut parts: Vec<Vec<Entry>> = (0..PARTS).map(|_| Vec::new()).collect();
        let page = Page { text: vec![1; bytes], scopes: vec![2; 5] };
        parts[3] = vec![
            Entry { owner: owner.clone(), basis: [9; 16], versions: [4, 0], page },
            Entry { owner, basis: [8; 16], versions: [1, 2], page: Page { text: vec![3], scopes: vec![] } },
        ];
        parts
    }

    #[test]
    fn days_are_kept_by_date_and_read_back() {
        let root = tempfile::tempdir().expect("a directory");
        let book = DayBook::open(root.path(), identity(1), 1 << 20).expect("opens");
        book.keep(DAY, &parts(7)).expect("writes");
        assert!(root.path().join("2026-10-01.day").exists());
        let pages = book.read(DAY, 3, true).expect("pages");
        let all: Vec<_> = pages.iter().map(|(t, text, scopes)| (t.basis[0], t.versions, text, scopes)).collect();
        assert_eq!(all, [(9, [4, 0], &[1; 7][..], Some(&[2; 5][..])), (8, [1, 2], &[3][..], Some(&[][..]))]);
        let whole = book.read(DAY, 3, false).expect("pages");
        assert!(whole.iter().all(|(_, _, scopes)| scopes.is_none()) && whole.iter().count() == 2);
        assert_eq!(book.read(DAY, 4, true).expect("an empty partition").iter().count(), 0);
        assert!(book.read(DAY + 1, 3, true).is_none());
    }

    #[test]
    fn a_damaged_file_or_one_of_another_ledger_is_not_used() {
        let root = tempfile::tempdir().expect("a directory");
        let book = DayBook::open(root.path(), identity(1), 1 << 20).expect("opens");
        book.keep(DAY, &parts(7)).expect("writes");
        let path = root.path().join("2026-10-01.day");
        let good = fs::read(&path).expect("reads");
        let read = |book: &DayBook| (0..PARTS).all(|part| book.read(DAY, part, true).is_some());
        assert!(read(&book));
        let line = MAGIC.len() + 3 * LINE;
        for place in (0..MAGIC.len()).chain(line..line + LINE).chain(MAGIC.len() + TABLE..good.len()) {
            let mut bad = good.clone();
            bad[place] ^= 4;
            fs::write(&path, &bad).expect("writes");
            assert!(!read(&book), "byte {place}");
            fs::write(&path, &good[..place]).expect("writes");
            assert!(!read(&book), "cut at {place}");
        }
        fs::write(&path, &good).expect("writes");
        assert!(read(&book) && !read(&DayBook::open(root.path(), identity(2), 0).expect("opens")));
        fs::rename(&path, root.path().join("2026-10-02.day")).expect("renames");
        assert!((0..PARTS).all(|part| book.read(DAY + 1, part, false).is_none()), "another day's");
    }

    #[test]
    fn a_link_in_place_of_the_folder_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        let (elsewhere, link) = (root.path().join("elsewhere"), root.path().join("days"));
        fs::create_dir(&elsewhere).expect("a directory");
        std::os::unix::fs::symlink(&elsewhere, &link).expect("a link");
        assert!(DayBook::open(&link, identity(1), 1).is_err());
    }

    #[test]
    fn the_oldest_days_are_let_go() {
        let root = tempfile::tempdir().expect("a directory");
        let probe = DayBook::open(root.path(), identity(1), u64::MAX).expect("opens");
        probe.keep(0, &parts(1000)).expect("writes");
        let size = probe.days().expect("reads")[0].1;
        let book = DayBook::open(root.path(), identity(1), size * 3).expect("opens");
        (DAY..DAY + 5).for_each(|day| book.keep(day, &parts(1000)).expect("writes"));
        let days: Vec<i32> = book.days().expect("reads").into_iter().map(|(day, _)| day).collect();
        assert_eq!(days, [DAY + 2, DAY + 3, DAY + 4]);
        assert!(book.is_full_before(DAY + 1).expect("reads") && !book.is_full_before(DAY + 5).expect("reads"));
    }
}
