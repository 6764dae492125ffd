//! Every code that a problem document may carry: people write programs against them, so none is renamed or dropped.

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub code: &'static str,
    /// The HTTP status that it comes with, or the two of them.
    pub statuses: &'static [u16],
    /// What it means, and what to do.
    pub meaning: &'static str,
}

const fn code(code: &'static str, statuses: &'static [u16], meaning: &'static str) -> Code {
    Code { code, statuses, meaning }
}

/// All of them, in the order of the alphabet.
pub const CODES: [Code; 81] = [
    code("account-cap", &[507], "The ledger has as many accounts as it may (`ledger.max_accounts`)."),
    code("already-adjusted", &[409], "Later statements carry adjustments of this one: it cannot be restated."),
    code("already-closed", &[409], "The month is closed: `restate` puts a new version in its place."),
    code("ambiguous-id", &[409], "Several clusters or owners have it: `known` lists the full ids."),
    code("backup-running", &[503], "Another backup is being read: come again when it is done."),
    code("bad-axis", &[400], "An axis of attribution cannot be used so."),
    code("bad-cursor", &[400], "The cursor is none that was given here: begin without one."),
    code("bad-host-list", &[400], "A list of hosts such as `node[01-20]` cannot be read."),
    code("bad-instant", &[400], "An instant is neither RFC 3339 nor Unix seconds, or lies where it cannot."),
    code("bad-inventory", &[400], "The inventory cannot be used: `faults` says which lines are at fault."),
    code("bad-job", &[400], "A job lacks something or contradicts itself: `field` says where."),
    code("bad-label", &[400], "Too many labels, or one that cannot be a label."),
    code("bad-meter", &[400], "A measurement cannot be made so."),
    code("bad-name", &[400], "A cluster, an owner or a device cannot have that name."),
    code("bad-owner", &[400], "A body names exactly one of `host`, `chassis` and `meter`."),
    code("bad-parameter", &[400], "A parameter has a value that it cannot have: `parameter` names it."),
    code("bad-period", &[400], "Not whole milliseconds; or no month such as `2026-10`."),
    code("bad-query", &[400], "The query string cannot be read."),
    code("bad-rates", &[400], "The rate card cannot be used."),
    code("bad-request", &[400, 406, 411, 414], "The request cannot be understood."),
    code("bad-seq", &[400], "`seq` counts from 1."),
    code("bad-step", &[400], "`step` is none of `15m`, `1h`, `1d`, `1mo`."),
    code("bad-stream", &[400], "`stream` is no name of 1 to 128 bytes."),
    code("bad-tariff", &[400], "A foreign tariff cannot be converted."),
    code("bad-time", &[400], "A reading has no instant in whole Unix milliseconds: `reading` counts from 0."),
    code("bad-tz", &[400], "`tz` is no IANA time zone."),
    code("bad-where", &[400], "A term of `where` is not `key=value` or `key!=value`."),
    code("bad-window", &[400], "`window` is none, or too long for this question."),
    code(
        "body-differs",
        &[409],
        "This number of the stream was used for another body: count on, or open a new stream.",
    ),
    code("body-incomplete", &[400], "The connection ended within the body."),
    code("body-too-large", &[413], "A body has more bytes than it may: `limit_bytes`."),
    code("body-too-slow", &[408], "The body did not arrive in time."),
    code("clock-set-back", &[409], "The sender's clock was set back beyond what is booked."),
    code("cost-hidden", &[403], "It is about money, which this aggregator does not show (`server.show_cost`)."),
    code(
        "coverage-too-low",
        &[409],
        "Too little of the month is known: `hosts` lists who lacks most. `allow_incomplete` closes it all the same.",
    ),
    code("duplicate-field", &[400], "A member of the body comes twice."),
    code("ending", &[503], "The aggregator is shutting down: come again."),
    code("host-bound-elsewhere", &[409], "The name is bound to another machine: an administrator rebinds it."),
    code("internal", &[500], "The aggregator failed; its log says why."),
    code("inventory-changed", &[412], "The inventory is not the one that `if-match` names: read it again."),
    code("inventory-file-unusable", &[409], "The inventory's file cannot be read or replaced; nothing was changed."),
    code("job-refused", &[409], "A machine cannot take the job."),
    code("malformed-act", &[400], "The body of an act cannot be understood."),
    code("malformed-json", &[400], "The body is not the JSON that is expected."),
    code("malformed-post", &[400], "An agent's post cannot be decoded."),
    code("method-not-allowed", &[405], "The path does not know the method: see the header `allow`."),
    code("missing-field", &[400], "The body lacks a member."),
    code("missing-parameter", &[400], "A parameter is needed: `parameter` names it."),
    code("month-not-over", &[409], "The month is not over at its site."),
    code("no-inventory-file", &[409], "The configuration names no inventory file: `[files] inventory`."),
    code("no-such-device", &[404], "There is no such account."),
    code("no-such-host", &[404], "None of the job's hosts has ever reported."),
    code("no-such-job", &[404], "There is no such job of the last 400 days."),
    code("no-such-meter", &[404], "There is no such measurement."),
    code("no-such-owner", &[404], "There is no such host or chassis."),
    code("no-such-path", &[404], "There is nothing at this path."),
    code("no-such-statement", &[404], "The month is not closed there, or has no such version."),
    code("not-bound", &[409], "No machine is bound to the host: the next one that reports under the name will be."),
    code("not-from-here", &[403], "Administration is for callers on the aggregator's own machine."),
    code("not-retired", &[409], "The host is not retired, or by the inventory: change it there."),
    code("nothing-selected", &[400], "`where` selects no host that has reported."),
    code("nothing-to-close", &[409], "The month has neither readings nor hosts."),
    code("number-gap", &[409], "The number leaves a hole in the stream: `expected` is the next one."),
    code("older-number", &[409], "The number is older than the answers kept: open a new stream."),
    code("overloaded", &[503], "Too much is in flight; nothing was booked: come again."),
    code("repeated-parameter", &[400], "A parameter is given twice."),
    code("several-sites", &[400], "The month is closed at several sites: name one of `known` with `site`."),
    code("shutting-down", &[503], "The aggregator is shutting down: come again."),
    code("store-failed", &[503], "It could not be written; nothing was done: come again."),
    code("too-many-hosts", &[400], "A post names more hosts than it may: send fewer jobs at a time."),
    code("too-many-jobs", &[400, 422], "More jobs than a post may have, or than a question may be about."),
    code("too-many-listeners", &[503], "As many listen to events as may: come again later."),
    code(
        "too-many-rows",
        &[422],
        "The answer would grow too large: ask for a longer step, a shorter window or fewer keys.",
    ),
    code(
        "unknown-device",
        &[400],
        "A job names a device that none of its host's accounts has: `known` lists at most ten that it has.",
    ),
    code("unknown-field", &[400], "The body has a member that is not known."),
    code("unknown-key", &[400], "A key of `by` or `where` that nothing here has: `known` lists them."),
    code("unknown-parameter", &[400], "There is no such parameter here: `known` lists them."),
    code(
        "unpriced",
        &[409],
        "Nothing in the month has a price although there is a rate card: `sites` lists where. `allow_incomplete` closes it \
         all the same.",
    ),
    code("unsupported-media-type", &[415], "The content type is none that is taken here."),
    code("wire-version", &[400], "The agent speaks a version that this aggregator does not."),
    code("wrong-type", &[400], "A member of the body has the wrong type."),
];

/// A code, if it is one of ours.
#[must_use]
pub fn find(code: &str) -> Option<&'static Code> {
    CODES.binary_search_by(|known| known.code.cmp(code)).ok().map(|at| &CODES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_the_order_of_the_alphabet_and_each_is_found() {
        assert!(CODES.is_sorted_by(|one, next| one.code < next.code));
        assert!(CODES.iter().all(|code| find(code.code) == Some(code)));
        assert_eq!(find("no-such-code"), None);
    }
}
