//! DCMI's Get Power Reading: what the bytes and the printed forms of its answer say.
//!
//! Source: Data Center Manageability Interface 1.5, section 6.6.1, table 6-16 (response to network
//! function 2Ch, command 02h, mode 01h "system power statistics").

use meter::{Milliwatts, Refusal};

/// The network function of group extensions.
pub(super) const NET_FN: u8 = 0x2c;
/// Get Power Reading.
pub(super) const COMMAND: u8 = 0x02;
/// The request: group extension DCMI, mode "system power statistics", no attributes.
pub(super) const REQUEST: [u8; 4] = [DCMI, 0x01, 0x00, 0x00];

/// The group extension identification of DCMI.
const DCMI: u8 = 0xdc;
/// Bytes after the completion code.
const LENGTH: usize = 18;
/// Bit 6 of the state: power measurement is active.
const ACTIVE: u8 = 0x40;

/// A power reading as a BMC gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PowerReading {
    /// Power now, in watts.
    pub(super) current_w: u64,
    /// Whether the BMC says that it is measuring.
    pub(super) active: bool,
    /// The statistics beside it, where they are known.
    pub(super) statistics: Option<Statistics>,
}

/// What a BMC says of a span of time. Shown, never booked: the span is often days, or said to be a second
/// and is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Statistics {
    /// Least power, in watts.
    pub(super) minimum_w: u16,
    /// Most power, in watts.
    pub(super) maximum_w: u16,
    /// Average power, in watts.
    pub(super) average_w: u16,
    /// When, in seconds since 1970 by the BMC's clock.
    pub(super) timestamp_s: u32,
    /// The span in milliseconds.
    pub(super) frame_ms: u32,
}

/// Reads the bytes that follow the completion code.
///
/// # Errors
/// [`Refusal::Malformed`] if it is no such answer.
pub(super) fn response(data: &[u8]) -> Result<PowerReading, Refusal> {
    let Some((&[DCMI, ref rest @ ..], _)) = data.split_first_chunk::<LENGTH>() else { return Err(Refusal::Malformed) };
    let word = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
    let long = |at: usize| u32::from_le_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
    let statistics = Statistics {
        minimum_w: word(2),
        maximum_w: word(4),
        average_w: word(6),
        timestamp_s: long(8),
        frame_ms: long(12),
    };
    Ok(PowerReading { current_w: word(0).into(), active: rest[16] & ACTIVE != 0, statistics: Some(statistics) })
}

/// Reads what `ipmitool dcmi power reading` or FreeIPMI's `ipmi-dcmi --get-system-power-statistics` prints.
///
/// # Errors
/// [`Refusal::Malformed`] if the power or the state is missing or there twice;
/// [`Refusal::PowerNegative`] or [`Refusal::PowerNotFinite`] if the power is no number of watts.
pub(super) fn printed(text: &str) -> Result<PowerReading, Refusal> {
    let (mut power, mut state) = (None, None);
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let slot = match name.trim().to_ascii_lowercase().as_str() {
            "instantaneous power reading" | "current power" => &mut power,
            "power reading state is" | "power measurement" => &mut state,
            _ => continue,
        };
        if slot.replace(value.trim()).is_some() {
            return Err(Refusal::Malformed);
        }
    }
    let (Some(power), Some(state)) = (power, state) else { return Err(Refusal::Malformed) };
    let active = match state.to_ascii_lowercase().as_str() {
        "activated" | "active" => true,
        "deactivated" | "not available" => false,
        _ => return Err(Refusal::Malformed),
    };
    Ok(PowerReading { current_w: watts(power)?, active, statistics: None })
}

/// A whole number of watts with its unit.
fn watts(text: &str) -> Result<u64, Refusal> {
    let mut words = text.split_whitespace();
    let (number, unit, more) = (words.next().unwrap_or_default(), words.next(), words.next());
    if more.is_some() || !unit.is_some_and(|unit| unit.eq_ignore_ascii_case("watts")) {
        return Err(Refusal::PowerNotFinite);
    }
    match number.parse::<i64>() {
        Ok(watts) => u64::try_from(watts).map_err(|_| Refusal::PowerNegative),
        Err(_) => Err(Refusal::PowerNotFinite),
    }
}

impl PowerReading {
    /// The machine's power.
    ///
    /// The agent runs on the machine that is measured, so zero is no power but what a BMC says that has no
    /// meter or has not read it yet. A reading that the BMC does not call active is none either, unless
    /// `trust_inactive`: some BMCs measure and never set that bit.
    ///
    /// # Errors
    /// [`Refusal::Sentinel`] for zero and for a register full of ones, [`Refusal::NoValue`] for a reading
    /// that is not active.
    pub(super) fn power(&self, trust_inactive: bool) -> Result<Milliwatts, Refusal> {
        match self.current_w {
            _ if !self.active && !trust_inactive => Err(Refusal::NoValue),
            0 | 0xffff => Err(Refusal::Sentinel),
            watts => Ok(Milliwatts(watts.saturating_mul(1000))),
        }
    }
}

/// What a completion code other than zero means for somebody who wants a power reading (IPMI 2.0,
/// table 5-2), and whether trying again may help.
pub(super) fn completion(code: u8) -> (&'static str, bool) {
    match code {
        0xc0 => ("the BMC is busy", true),
        0xc1 | 0xc2 => ("the BMC does not know the command: it has no DCMI power reading", false),
        0xc3 => ("the BMC took too long", true),
        0xc7 | 0xc8 | 0xcc => ("the BMC does not accept the request: it has no DCMI power reading", false),
        0xcb => ("the BMC has no power sensor", false),
        0xce | 0xd0..=0xd2 => ("the BMC cannot answer now: it is starting or being updated", true),
        0xd3 => ("the part of the BMC that measures cannot be reached", true),
        0xd4 => ("the BMC does not allow it on this interface", false),
        0xd5 | 0xd6 => ("the BMC does not measure power in its present state", true),
        _ => ("the BMC gives no reason that is defined", true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 214 W now, 2 to 468 W, 184 W on average over 1000 ms, 2024-05-05T13:06:44Z, active.
    const ANSWER: [u8; 18] = [0xdc, 214, 0, 2, 0, 212, 1, 184, 0, 0x64, 0x84, 0x37, 0x66, 0xe8, 0x03, 0, 0, 0x40];

    #[test]
    fn an_answer_is_read_field_by_field() {
        let statistics =
            Statistics { minimum_w: 2, maximum_w: 468, average_w: 184, timestamp_s: 1_714_914_404, frame_ms: 1000 };
        let reading = response(&ANSWER).expect("a good answer");
        assert_eq!(reading, PowerReading { current_w: 214, active: true, statistics: Some(statistics) });
        assert_eq!(reading.power(false), Ok(Milliwatts(214_000)));
    }

    #[test]
    fn an_answer_that_is_short_or_of_another_group_is_refused() {
        assert_eq!(response(&ANSWER[..17]), Err(Refusal::Malformed));
        assert_eq!(response(&[]), Err(Refusal::Malformed));
        let mut other = ANSWER;
        other[0] = 0xdd;
        assert_eq!(response(&other), Err(Refusal::Malformed));
        let mut longer = ANSWER.to_vec();
        longer.push(7);
        assert_eq!(response(&longer), response(&ANSWER), "later versions may append");
    }

    #[test]
    fn what_is_no_power_of_a_running_machine_is_refused() {
        let of = |watts: u16, state: u8| {
            let mut bytes = ANSWER;
            bytes[1..3].copy_from_slice(&watts.to_le_bytes());
            bytes[17] = state;
            response(&bytes).expect("a good answer")
        };
        assert_eq!(of(0, 0x40).power(false), Err(Refusal::Sentinel));
        assert_eq!(of(0xffff, 0x40).power(false), Err(Refusal::Sentinel));
        assert_eq!(of(319, 0x00).power(false), Err(Refusal::NoValue));
        assert_eq!(of(319, 0xbf).power(false), Err(Refusal::NoValue), "only bit 6 counts");
        assert_eq!(of(319, 0x00).power(true), Ok(Milliwatts(319_000)));
        assert_eq!(of(0, 0x00).power(true), Err(Refusal::Sentinel));
        assert_eq!(of(0xfffe, 0x40).power(false), Ok(Milliwatts(65_534_000)));
    }

    #[test]
    fn every_printed_form_is_read() {
        let old = "\n    Instantaneous power reading:                   197 Watts\n    Minimum during sampling \
                   period:                175 Watts\n    IPMI timestamp:  Sun Mar  6 15:13:42 2022\n    Sampling \
                   period:                          00123893 Seconds.\n    Power reading state is:                   \
                   activated\n\n\n";
        let new = "    Instantaneous power reading              : 214      Watts\n    IPMI timestamp   : 05/05/24 \
                   13:06:44 UTC    Sampling period : 00000001 Seconds.\n    Power reading state is                   : \
                   deactivated\n";
        let free = "Current Power                        : 332 watts\nMinimum Power over sampling duration : 68 \
                    watts\nTime Stamp                           : 11/03/2023 - 08:36:29\nPower Measurement           \
                    : Active\n";
        let missing = free.replace("Active", "Not Available");
        for (text, expected) in [(old, (197, true)), (new, (214, false)), (free, (332, true)), (&missing, (332, false))]
        {
            let reading = printed(text).expect("a good text");
            assert_eq!((reading.current_w, reading.active), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_does_not_say_it_is_refused() {
        let text = |power: &str, state: &str| format!("Instantaneous power reading: {power}\n{state}\n");
        let on = "Power reading state is: activated";
        for (text, expected) in [
            (String::new(), Refusal::Malformed),
            ("    DCMI request failed because: Invalid command (c1)\n".into(), Refusal::Malformed),
            (text("214 Watts", ""), Refusal::Malformed),
            (on.into(), Refusal::Malformed),
            (text("214 Watts", "Power reading state is: perhaps"), Refusal::Malformed),
            (text("214 Watts", &format!("{on}\nCurrent Power: 215 Watts")), Refusal::Malformed),
            (text("-1 Watts", on), Refusal::PowerNegative),
            (text("n/a", on), Refusal::PowerNotFinite),
            (text("NaN Watts", on), Refusal::PowerNotFinite),
            (text("214 mW", on), Refusal::PowerNotFinite),
            (text("2 14 Watts", on), Refusal::PowerNotFinite),
            (text("99999999999999999999 Watts", on), Refusal::PowerNotFinite),
        ] {
            assert_eq!(printed(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn completion_codes_tell_what_passes_from_what_stays() {
        for code in [0xc1, 0xc7, 0xcc, 0xcb, 0xd4] {
            assert!(!completion(code).1, "{code:#x}");
        }
        for code in [0xc0, 0xc3, 0xd2, 0xd5, 0x81] {
            assert!(completion(code).1, "{code:#x}");
        }
    }
}
