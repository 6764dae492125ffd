//! What `?` shows: the keys, and what the figures mean.

use ratatui::text::Line;

const KEYS: &str = "\
Keys                                                 (any key closes this)
  Up Down j k, PgUp PgDn, Home End g G    move
  E         the biggest consumers of the session; again: chassis and hosts
  R         reset the session; lifetime figures are untouched
  /         filter by name, host, cluster or state; Esc clears it
  s         sort by the next of power, energy, cost, name
  p e c n   sort by power, energy, cost, name         o  the other way round
  q Ctrl-C  quit
Figures
  POWER     of the hosts that are read now; a dash is no reading, not zero
  SESSION   billed since the view began or R was pressed, each joule once;
            late readings count when they arrive. It survives a restart of the
            aggregator and never goes back.
";
const COST: &str = "  \
  COST      of that energy with PUE and surcharges; demand and fixed charges
            belong to a month and are in `wattledger report`.
  at        a flat price; effective: what a kWh came to. Currencies are
            never added.
";

pub(super) fn lines(is_cost_hidden: bool) -> Vec<Line<'static>> {
    KEYS.lines().chain(COST.lines().filter(|_| !is_cost_hidden)).map(Line::from).collect()
}
