//! `GET /api/v1/unmatched`: BMCs without host, hosts without BMC, what matches several, links to nobody.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use billing::topology::unmatched::{Kind, Unmatched, counts};
use serde::Serialize;
use utoipa::ToSchema;

use super::listing::{Page, owner_key};
use super::openapi::parameters::PageParameters;
use super::openapi::problems::Refused;
use super::problem::Problem;
use super::respond::{json as answer, off_thread};
use crate::app::App;
use crate::query::{Params, rfc3339};

/// One owner that is joined to nothing.
#[derive(Serialize, ToSchema)]
#[schema(as = Unmatched)]
pub(super) struct UnmatchedView {
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

/// A page of them.
#[derive(Serialize, ToSchema)]
pub(super) struct UnmatchedPage {
    as_of: String,
    /// How many of each kind there are in all.
    counts: BTreeMap<&'static str, usize>,
    unmatched: Vec<UnmatchedView>,
    next_cursor: Option<String>,
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
#[utoipa::path(
    get, path = "/api/v1/unmatched", operation_id = "list_unmatched", tag = "fleet",
    summary = "BMCs without host, hosts without BMC, what matches several, links to nobody",
    params(PageParameters, ("kind" = inline(Option<Kind>), Query, description = "Only of this kind.")),
    responses((status = 200, description = "A page of what is joined to nothing.", body = UnmatchedPage), Refused),
)]
pub async fn list(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["limit", "cursor", "kind"])?;
    let page = Page::read(&params)?;
    let words: Vec<&str> = std::iter::once("").chain(Kind::ALL.map(Kind::word)).collect();
    let kind = params.one_of("kind", &words)?.to_owned();
    off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let all = topology.unmatched(now);
        let counts: BTreeMap<&'static str, usize> = Kind::ALL.map(Kind::word).into_iter().zip(counts(&all)).collect();
        let wanted = all.iter().filter(|one| kind.is_empty() || one.reason.kind().word() == kind);
        // One owner may be listed for several reasons.
        let key = |one: &Unmatched| format!("{} {}", owner_key(&one.owner), one.reason.code());
        let keyed: BTreeMap<String, &Unmatched> = wanted.map(|one| (key(one), one)).collect();
        let paged = page.of(keyed, |one| Some(UnmatchedView::new(one)));
        let as_of = rfc3339(snapshot.as_of);
        Ok(UnmatchedPage { as_of, counts, unmatched: paged.items, next_cursor: paged.next_cursor })
    })
    .await
    .map(|body| answer(&body))
}
