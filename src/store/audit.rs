//! The audit of a whole image: of an open store or of a file, without changing either.
//!
//! Rows come first, so that the sums of every account are at hand when history is read; memory is
//! theirs, not the history's. What each owner must be is for [`energy::Audit`] to say.

use std::collections::HashMap;
use std::path::Path;

use energy::{Audit, Discrepancy};
use meter::{AccountKey, ByQuality, Owner};

use crate::export::ImageFile;
use crate::port::{Identity, ImageItem, Store, StoreError};
use crate::records::{decode_hour, decode_row};

/// Findings that are kept; a store that is wrong everywhere must not fill the memory.
const FINDINGS_MAX: usize = 10_000;

/// What an image holds, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which ledger it is.
    pub identity: Identity,
    /// The commit it is of; of a file a lower bound, in whose place its head stands.
    pub commit: u64,
    /// Owners.
    pub owners: u64,
    /// Accounts.
    pub accounts: u64,
    /// Postings to the history.
    pub postings: u64,
    /// Cells of 15 minutes and one account.
    pub cells: u64,
    /// Documents.
    pub documents: u64,
    /// Energy of all accounts. Accounts overlap (a chassis contains its GPUs): it is no bill.
    pub energy: ByQuality,
    /// What is not as it must be; at most 10,000, then the rest is only counted.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
}

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whose.
    pub owner: Owner,
    /// The account, if it concerns one.
    pub account: Option<AccountKey>,
    /// What is wrong, as a stable word.
    pub code: &'static str,
    /// What there must be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// Audits an open store; commits go on meanwhile.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub fn audit_store(store: &dyn Store) -> Result<Report, StoreError> {
    let mut auditor = Auditor::new(store.identity());
    let commit = store.image(&mut |item| {
        auditor.add(item);
        Ok(())
    })?;
    Ok(auditor.finish(commit))
}

/// Audits an export or a backup, after its checksum was verified.
///
/// # Errors
/// [`StoreError::Damaged`] if it is no image, was cut short or changed; [`StoreError::Io`] if it
/// cannot be read.
pub fn audit_image(path: &Path) -> Result<Report, StoreError> {
    let image = ImageFile::open(path)?;
    let (mut auditor, commit) = (Auditor::new(image.identity), image.commit);
    image.read(|item| {
        auditor.add(item);
        Ok(())
    })?;
    Ok(auditor.finish(commit))
}

struct Auditor {
    owners: HashMap<Owner, Audit>,
    report: Report,
}

impl Auditor {
    fn new(identity: Identity) -> Self {
        let report = Report {
            identity,
            commit: 0,
            owners: 0,
            accounts: 0,
            postings: 0,
            cells: 0,
            documents: 0,
            energy: ByQuality::default(),
            findings: Vec::new(),
            more_findings: 0,
        };
        Self { owners: HashMap::new(), report }
    }

    fn add(&mut self, item: ImageItem) {
        match item {
            ImageItem::Row(row) => {
                self.report.owners += 1;
                match decode_row(&row.owner, &row.bytes) {
                    Ok(state) => {
                        if self.owners.insert(row.owner.clone(), Audit::of(&state, row.version)).is_some() {
                            self.note(row.owner, "row-twice", "one row", "two".into());
                        }
                    }
                    Err(error) => self.note(row.owner, "row-unreadable", "a row", error.to_string()),
                }
            }
            ImageItem::History(entry) => {
                self.report.postings += 1;
                let block = match decode_hour(entry.hour, &entry.bytes) {
                    Ok(block) => block,
                    Err(error) => return self.note(entry.owner, "posting-unreadable", "a posting", error.to_string()),
                };
                match self.owners.get_mut(&entry.owner) {
                    Some(audit) => audit.posting(&block, entry.version),
                    None => {
                        let found = format!("none, but a posting of version {}", entry.version);
                        self.note(entry.owner, "row-missing", "a row that can be read", found);
                    }
                }
            }
            ImageItem::Document { .. } => self.report.documents += 1,
        }
    }

    fn note(&mut self, owner: Owner, code: &'static str, expected: &str, found: String) {
        self.keep(owner, Discrepancy { account: None, code, expected: expected.into(), found });
    }

    fn keep(&mut self, owner: Owner, discrepancy: Discrepancy) {
        if self.report.findings.len() >= FINDINGS_MAX {
            self.report.more_findings += 1;
            return;
        }
        let Discrepancy { account, code, expected, found } = discrepancy;
        self.report.findings.push(Finding { owner, account, code, expected, found });
    }

    fn finish(mut self, commit: u64) -> Report {
        let mut owners: Vec<_> = self.owners.drain().collect();
        owners.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (owner, audit) in owners {
            let audited = audit.finish();
            self.report.accounts += audited.accounts as u64;
            self.report.cells += audited.cells;
            self.report.energy += audited.energy;
            for discrepancy in audited.discrepancies {
                self.keep(owner.clone(), discrepancy);
            }
        }
        Report { commit, ..self.report }
    }
}
