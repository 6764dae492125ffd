//! `GET /api/v1/unmatched`: BMCs without host, hosts without BMC, what matches several, links to nobody.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::json;

use super::listing::{Page, owner_key};
use super::problem::Problem;
use super::read::{json as answer, off_thread};
use crate::app::App;
use crate::query::{Params, rfc3339};
use crate::topology::unmatched::{Kind, Unmatched, counts};

/// One owner that is joined to nothing.
#[derive(Serialize)]
struct UnmatchedView {
    kind: Kind,
    /// As everywhere: `cluster/name`.
    id: String,
    cluster: String,
    /// `host` or `chassis`.
    owner: &'static str,
    name: String,
    reason: &'static str,
    detail: &'static str,
    /// The names of those that it could belong to.
    candidates: Vec<String>,
    /// What it names, where that is nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<String>,
}

impl UnmatchedView {
    fn new(unmatched: &Unmatched) -> Self {
        let owner = &unmatched.owner;
        Self {
            kind: unmatched.reason.kind(),
            id: format!("{}/{}", owner.cluster, owner.name),
            cluster: owner.cluster.to_string(),
            owner: owner.kind.word(),
            name: owner.name.to_string(),
            reason: unmatched.reason.code(),
            detail: unmatched.reason.detail(),
            candidates: unmatched.candidates.iter().map(|owner| owner.name.to_string()).collect(),
            named: unmatched.named.as_deref().map(str::to_owned),
        }
    }
}

/// Lists what is joined to nothing now, in pages; `kind` selects one kind. `counts` is of all.
///
/// # Errors
/// A problem that names the parameter at fault.
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "kind"])?;
    let page = Page::read(&params)?;
    let words: Vec<&str> = std::iter::once("").chain(Kind::ALL.map(Kind::word)).collect();
    let kind = params.one_of("kind", &words)?.to_owned();
    off_thread(move || {
        let (snapshot, topology, now) = app.moment();
        let all = topology.unmatched(now);
        let counts: BTreeMap<&str, usize> = Kind::ALL.map(Kind::word).into_iter().zip(counts(&all)).collect();
        let wanted = all.iter().filter(|one| kind.is_empty() || one.reason.kind().word() == kind);
        // One owner may be listed for several reasons.
        let key = |one: &Unmatched| format!("{} {}", owner_key(&one.owner), one.reason.code());
        let keyed: BTreeMap<String, &Unmatched> = wanted.map(|one| (key(one), one)).collect();
        let paged = page.of(keyed, |one| Some(UnmatchedView::new(one)));
        Ok(json!({
            "as_of": rfc3339(snapshot.as_of), "counts": counts, "unmatched": paged.items,
            "next_cursor": paged.next_cursor,
        }))
    })
    .await
    .map(|body| answer(&body))
}
