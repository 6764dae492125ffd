//! Parameters that several questions share, as the document tells them. They are read by
//! [`crate::query::Params`]: a test holds the two side by side.

use utoipa::{IntoParams, ToSchema};

/// A question of cost.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CostParameters {
    /// From when to when: `1h 24h 7d 30d today yesterday week lastweek month lastmonth`, a month such as `2026-10`, or
    /// `START,END` (RFC 3339 or Unix seconds), the end exclusive. Edges within a quarter of an hour move outward to
    /// its border.
    #[param(example = "24h")]
    pub window: String,
    /// Groups: a comma list of `cluster host chassis scope device`, `job.id job.user job.account`, or any label.
    #[param(example = "team")]
    pub by: Option<String>,
    /// What counts: `key=value,key!=value,key=a|b`, with globs and host lists such as `node[01-20]`.
    #[param(example = "host=node-*")]
    pub r#where: Option<String>,
    /// The length of an interval; one for all of the window if absent.
    #[param(inline)]
    pub step: Option<StepWord>,
    /// The IANA zone that decides days and months; the server's if absent.
    #[param(example = "Europe/Paris")]
    pub tz: Option<String>,
    /// What becomes of energy that no job held, of machines that run jobs.
    #[param(inline)]
    pub idle: Option<PolicyWord>,
    /// What becomes of energy that several jobs share.
    #[param(inline)]
    pub shared: Option<PolicyWord>,
}

/// The length of an interval.
#[derive(ToSchema)]
pub enum StepWord {
    /// A quarter of an hour.
    #[schema(rename = "15m")]
    Quarter,
    /// An hour.
    #[schema(rename = "1h")]
    Hour,
    /// A day of the zone.
    #[schema(rename = "1d")]
    Day,
    /// A month of the zone.
    #[schema(rename = "1mo")]
    Month,
}

/// What becomes of energy that is nobody's alone.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum PolicyWord {
    /// It stands on a line of its own.
    Separate,
    /// It is the host's label's.
    Owner,
    /// It is divided by what each used.
    Proportional,
}

/// The form of a report.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FormatParameter {
    /// JSON as of a rollup, CSV, a page, or a FOCUS 1.x file for finance.
    #[param(inline)]
    pub format: Option<FormatWord>,
}

/// The form of a report.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum FormatWord {
    /// As a rollup.
    Json,
    /// For spreadsheets.
    Csv,
    /// For people.
    Html,
    /// For finance.
    Focus,
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParameters {
    /// Items of a page; 100 if absent.
    #[param(minimum = 1, maximum = 10_000)]
    pub limit: Option<u32>,
    /// Where to go on: `next_cursor` of the page before. What is added meanwhile shifts nothing.
    pub cursor: Option<String>,
}

/// Which owners.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SelectParameter {
    /// Which of them: as in a rollup, by the labels that they have now.
    #[param(example = "rack=r1")]
    pub r#where: Option<String>,
}
