//! What NVML's answers mean: which values are readings, which are refused, which errors are whose.

use meter::{Microjoules, Milliwatts, Refusal, Sample};
use nvml_wrapper::error::NvmlError;

use super::library::{Answer, Board, Fields, Library, ModuleFields, NotANumber};

/// Whom an error concerns, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The driver is gone, and with it every GPU.
    Driver,
    /// This GPU is gone until it is reset.
    Lost,
    /// This hardware or driver never has the value.
    Never,
    /// Nothing this time.
    Passing,
}

/// `NVML_ERROR_GPU_NOT_FOUND`, which the wrapper does not know.
const GPU_NOT_FOUND: u32 = 29;

/// What an error means.
pub(super) fn trouble(error: &NvmlError) -> Trouble {
    use NvmlError::{
        DriverNotLoaded, FailedToLoadSymbol, FunctionNotFound, GpuLost, InvalidArg, LibRmVersionMismatch, NotFound,
        NotSupported, ResetRequired, UnexpectedVariant, Uninitialized,
    };
    match error {
        Uninitialized | DriverNotLoaded | LibRmVersionMismatch => Trouble::Driver,
        GpuLost | ResetRequired | NotFound | UnexpectedVariant(GPU_NOT_FOUND) => Trouble::Lost,
        NotSupported | FunctionNotFound | FailedToLoadSymbol(_) | InvalidArg => Trouble::Never,
        _ => Trouble::Passing,
    }
}

/// Reads a GPU. `counts` says whether its energy counter is one to book by.
///
/// # Errors
/// Neither power nor energy was given.
pub(super) fn gpu(library: &dyn Library, board: &Board, counts: bool, device: u16) -> Result<Sample, NvmlError> {
    let (power, energy) = match library.fields(board) {
        Ok(Fields { energy_mj, average_mw, instant_mw }) => (either(average_mw, instant_mw), energy_mj),
        Err(error) if trouble(&error) == Trouble::Never => (Err(error), library.energy_mj(board).map(Ok)),
        Err(error) => return Err(error),
    };
    // A superchip's older call does not say whose power it is.
    let power =
        if board.superchip { power } else { power.or_else(|_| library.power_mw(board).map(|mw| Ok(mw.into()))) };
    let energy = if counts { energy } else { Err(NvmlError::NotSupported) };
    match (power, energy) {
        (Err(power), Err(energy)) => Err(worse(power, energy)),
        (power, energy) => Ok(sample(device, power.ok(), energy.ok())),
    }
}

/// Whether a GPU has an energy counter; one that is not answered now may be later.
pub(super) fn has_counter(library: &dyn Library, board: &Board) -> bool {
    let by_field = library.fields(board).and_then(|fields| fields.energy_mj);
    let counter = match by_field {
        Err(error) if trouble(&error) == Trouble::Never => library.energy_mj(board).map(Ok),
        by_field => by_field,
    };
    !counter.is_err_and(|error| trouble(&error) == Trouble::Never)
}

/// Whether a superchip's GPU has a power of its own.
pub(super) fn has_own_power(library: &dyn Library, board: &Board) -> bool {
    let power = library.fields(board).and_then(|fields| either(fields.average_mw, fields.instant_mw));
    !power.is_err_and(|error| trouble(&error) == Trouble::Never)
}

/// Reads the module that a GPU is on.
///
/// # Errors
/// The module's power was not given.
pub(super) fn module(library: &dyn Library, board: &Board, device: u16) -> Result<Sample, NvmlError> {
    let ModuleFields { average_mw, instant_mw, .. } = library.module(board)?;
    Ok(sample(device, Some(either(average_mw, instant_mw)?), None))
}

/// The limit of the module that a GPU is on; nothing if the module's power is not measured.
pub(super) fn module_limit(library: &dyn Library, board: &Board) -> Option<Milliwatts> {
    let never = |error: &NvmlError| trouble(error) == Trouble::Never;
    match library.module(board) {
        Ok(ModuleFields { average_mw, instant_mw, limit_mw }) => {
            let measured = !either(average_mw, instant_mw).is_err_and(|error| never(&error));
            measured.then(|| limit(limit_mw))
        }
        Err(error) => (!never(&error)).then_some(Milliwatts(0)),
    }
}

/// A limit as the ledger takes it; zero if it is none.
pub(super) fn limit(answer: Answer) -> Milliwatts {
    Milliwatts(answer.ok().and_then(Result::ok).filter(|mw| *mw < u64::from(u32::MAX)).unwrap_or(0))
}

/// The first answer, else the second; of two errors the one that may pass.
fn either(first: Answer, second: Answer) -> Answer {
    match first {
        Err(error) if trouble(&error) != Trouble::Never => second.or(Err(error)),
        first => first.or(second),
    }
}

/// The error that changes more.
fn worse(power: NvmlError, energy: NvmlError) -> NvmlError {
    if matches!(trouble(&energy), Trouble::Driver | Trouble::Lost) { energy } else { power }
}

fn sample(device: u16, power: Option<Result<u64, NotANumber>>, energy: Option<Result<u64, NotANumber>>) -> Sample {
    let mut sample = Sample { device, ..Sample::default() };
    match power {
        // A register full of ones: "not available".
        Some(Ok(mw)) if mw >= u64::from(u32::MAX) => sample.refused = Some(Refusal::Sentinel),
        Some(Ok(mw)) => sample.power = Some(Milliwatts(mw)),
        Some(Err(NotANumber::Negative)) => sample.refused = Some(Refusal::PowerNegative),
        Some(Err(NotANumber::Malformed)) => sample.refused = Some(Refusal::Malformed),
        None => {}
    }
    match energy.map(|energy| energy.map(|mj| mj.checked_mul(1000))) {
        Some(Ok(Some(uj))) => sample.counter = Some(Microjoules(uj)),
        // All marks for "not available" are above what a counter of microjoules can hold.
        Some(Ok(None)) => sample.refused = Some(Refusal::Sentinel),
        Some(Err(NotANumber::Negative)) => sample.refused = Some(Refusal::CounterNegative),
        Some(Err(NotANumber::Malformed)) => sample.refused = Some(Refusal::Malformed),
        None => {}
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_none_is_refused_by_its_reason_and_spares_the_other() {
        const ONES: u64 = u32::MAX as u64;
        let good = Sample { power: Some(Milliwatts(5)), counter: Some(Microjoules(7000)), ..Sample::default() };
        let refused = |refused, sample| Sample { refused: Some(refused), ..sample };
        let (no_power, no_counter) = (Sample { power: None, ..good }, Sample { counter: None, ..good });
        for (power, energy, expected) in [
            (Ok(5), Ok(7), good),
            (Ok(ONES), Ok(7), refused(Refusal::Sentinel, no_power)),
            (Ok(ONES - 1), Ok(7), Sample { power: Some(Milliwatts(4_294_967_294)), ..good }),
            (Err(NotANumber::Negative), Ok(7), refused(Refusal::PowerNegative, no_power)),
            (Err(NotANumber::Malformed), Ok(7), refused(Refusal::Malformed, no_power)),
            // 4.3 MJ are a counter's value like any other.
            (Ok(5), Ok(ONES), Sample { counter: Some(Microjoules(4_294_967_295_000)), ..good }),
            (Ok(5), Ok(u64::MAX), refused(Refusal::Sentinel, no_counter)),
            (Ok(5), Ok(i64::MAX as u64), refused(Refusal::Sentinel, no_counter)),
            // What DCGM prints for "blank".
            (Ok(5), Ok(9_223_372_036_854_775_794), refused(Refusal::Sentinel, no_counter)),
            (Ok(5), Err(NotANumber::Negative), refused(Refusal::CounterNegative, no_counter)),
            (Ok(5), Err(NotANumber::Malformed), refused(Refusal::Malformed, no_counter)),
        ] {
            assert_eq!(sample(0, Some(power), Some(energy)), expected, "{power:?} {energy:?}");
        }
    }

    #[test]
    fn an_error_concerns_the_driver_the_gpu_or_the_moment() {
        for (code, expected) in [
            (1, Trouble::Driver),
            (2, Trouble::Never),
            (3, Trouble::Never),
            (4, Trouble::Passing),
            (6, Trouble::Lost),
            (9, Trouble::Driver),
            (10, Trouble::Passing),
            (13, Trouble::Never),
            (15, Trouble::Lost),
            (16, Trouble::Lost),
            (18, Trouble::Driver),
            (28, Trouble::Passing),
            (29, Trouble::Lost),
            (999, Trouble::Passing),
        ] {
            assert_eq!(trouble(&NvmlError::from(code)), expected, "NVML error {code}");
        }
    }

    #[test]
    fn the_average_is_taken_else_the_instant_else_the_error_that_may_pass() {
        let (never, passing) = (|| Err(NvmlError::NotSupported), || Err(NvmlError::Timeout));
        assert!(matches!(either(Ok(Ok(1)), Ok(Ok(2))), Ok(Ok(1))));
        assert!(matches!(either(never(), Ok(Ok(2))), Ok(Ok(2))));
        assert!(matches!(either(passing(), Ok(Ok(2))), Ok(Ok(2))));
        assert!(matches!(either(passing(), never()), Err(NvmlError::Timeout)));
        assert!(matches!(either(never(), passing()), Err(NvmlError::Timeout)));
        assert!(matches!(either(never(), never()), Err(NvmlError::NotSupported)));
    }

    #[test]
    fn a_limit_that_is_none_is_unknown() {
        assert_eq!(limit(Ok(Ok(700_000))), Milliwatts(700_000));
        for none in [Ok(Ok(u64::from(u32::MAX))), Ok(Err(NotANumber::Negative)), Err(NvmlError::NotSupported)] {
            assert_eq!(limit(none), Milliwatts(0));
        }
    }
}
