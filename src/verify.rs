//! `wattledger verify`: works out every register of a stopped aggregator's ledger from its slots, and
//! verifies the exports beside it. Nothing is restored or set aside.

use std::path::{Path, PathBuf};

use clap::Args;
use console::Format;
use serde_json::{Value, json};
use store::{Report, StoreError};

use crate::Failure;
use crate::offline::{DataDir, found, holds, line, say};

/// What to audit.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// Audit this backup or export instead; of a directory all in it
    #[arg(value_name = "DIR|FILE", conflicts_with_all = ["data_dir", "config"])]
    image: Option<PathBuf>,
    #[command(flatten)]
    data: DataDir,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// A ledger or an image that was audited: what it holds, or why it cannot be read, and what is wrong
/// beside its own figures.
struct Audited {
    path: PathBuf,
    report: Result<Report, StoreError>,
    also: Vec<String>,
}

/// Audits and prints; fails if anything is not as it must be.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let (ledger, images) = match &args.image {
        Some(place) => (None, images(store::images_at(place)?, None)),
        None => {
            let data = args.data.find()?;
            let (ledger, acknowledged) = ledger(&data)?;
            let images = images(store::exports_in(&data.join("exports"))?, ledger.report.as_ref().ok());
            (Some(behind(ledger, acknowledged, &images)), images)
        }
    };
    let wrong = ledger.iter().chain(&images).map(Audited::count).sum::<u64>();
    match args.format {
        Format::Json => say(&format!("{:#}", document(ledger.as_ref(), &images, wrong))),
        Format::Table => {
            ledger.iter().for_each(|ledger| ledger.tell("ledger "));
            images.iter().for_each(|image| image.tell("image  "));
            if wrong == 0 {
                say("ok: every register is the sum of its slots; holes, streams and versions agree");
            }
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure { code: 1, told: "1 discrepancy".into() }),
        wrong => Err(Failure { code: 1, told: format!("{wrong} discrepancies") }),
    }
}

/// The ledger of a data directory, and the commit that was acknowledged last.
fn ledger(data: &Path) -> Result<(Audited, u64), Failure> {
    let (report, acknowledged) = match store::open_stopped(data) {
        Ok(stopped) => (store::audit_store(&stopped.store), stopped.acknowledged),
        Err(error @ StoreError::Damaged { .. }) => (Err(error), 0),
        Err(error) => return Err(error.into()),
    };
    Ok((Audited { path: data.join("ledger"), report, also: Vec::new() }, acknowledged))
}

/// Adds what shows that a ledger lost its end: an acknowledgement or an export that is ahead of it.
fn behind(mut ledger: Audited, acknowledged: u64, exports: &[Audited]) -> Audited {
    let Ok(report) = &ledger.report else { return ledger };
    if acknowledged > report.commit {
        ledger.also.push(format!("it ends at commit {}, but {acknowledged} was acknowledged", report.commit));
    }
    for export in exports {
        if let Ok(exported) = &export.report
            && exported.identity == report.identity
            && exported.commit > report.commit
        {
            ledger.also.push(format!("it ends at commit {}, {} holds more", report.commit, export.path.display()));
        }
    }
    ledger
}

fn images(paths: Vec<PathBuf>, ledger: Option<&Report>) -> Vec<Audited> {
    let audited = |path: PathBuf| {
        let report = store::audit_image(&path);
        let is_foreign = match (&report, ledger) {
            (Ok(report), Some(ledger)) => report.identity.ledger != ledger.identity.ledger,
            _ => false,
        };
        let also = if is_foreign { vec!["it is of another ledger and cannot replace this one".into()] } else { vec![] };
        Audited { path, report, also }
    };
    paths.into_iter().map(audited).collect()
}

impl Audited {
    /// How many things are wrong.
    fn count(&self) -> u64 {
        self.also.len() as u64 + self.report.as_ref().map_or(1, found)
    }

    fn tell(&self, what: &str) {
        say(&format!("{what} {}", self.path.display()));
        match &self.report {
            Ok(report) => {
                say(&format!("        {}", holds(report)));
                report.findings.iter().for_each(|finding| say(&format!("        {}", line(finding))));
                if report.more_findings > 0 {
                    say(&format!("        and {} more", report.more_findings));
                }
            }
            Err(StoreError::Damaged { why, .. }) => say(&format!("        damaged: {why}")),
            Err(error) => say(&format!("        {error}")),
        }
        self.also.iter().for_each(|also| say(&format!("        {also}")));
    }

    fn document(&self) -> Value {
        let finding = |finding: &store::Finding| {
            json!({
                "owner": finding.owner.to_string(), "account": finding.account.as_ref().map(ToString::to_string),
                "code": finding.code, "expected": finding.expected, "found": finding.found,
            })
        };
        let holds = self.report.as_ref().ok().map(|report| {
            json!({
                "ledger": report.identity.ledger.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                "generation": report.identity.generation, "commit": report.commit, "owners": report.owners,
                "accounts": report.accounts, "cells": report.cells, "postings": report.postings,
                "documents": report.documents, "energy_uj": report.energy.total().microjoules().to_string(),
                "energy_kwh": report.energy.total().kwh(),
            })
        });
        let findings = self.report.iter().flat_map(|report| &report.findings).map(finding).collect::<Vec<_>>();
        let unreadable = self.report.as_ref().err().map(ToString::to_string);
        json!({
            "path": self.path.display().to_string(), "holds": holds, "unreadable": unreadable,
            "discrepancies": findings, "more_discrepancies": self.report.as_ref().map_or(0, |r| r.more_findings),
            "also": self.also, "can_replace_the_ledger": self.count() == 0,
        })
    }
}

fn document(ledger: Option<&Audited>, images: &[Audited], wrong: u64) -> Value {
    let mut ledger = ledger.map(Audited::document);
    if let Some(ledger) = ledger.as_mut().and_then(Value::as_object_mut) {
        ledger.remove("can_replace_the_ledger");
    }
    let images = images.iter().map(Audited::document).collect::<Vec<_>>();
    json!({ "ok": wrong == 0, "discrepancies": wrong, "ledger": ledger, "images": images })
}
