//! A made driver for NVML's logic: its GPUs answer what a test says.

#![cfg(test)]

use std::sync::Mutex;

use nvml_wrapper::error::NvmlError;

use super::super::library::{Board, Fields, Library, ModuleFields};
use Answer::{Both, Fails, InstantOnly, NoEnergy, Old, Super};

/// What GPU n answers to one look.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Energy in mJ and power in mW.
    Both(u64, u64),
    /// Only the power of this instant, as on boards without average and counter.
    InstantOnly(u64),
    /// A driver without field values: counter and power by their own calls.
    Old(u64, u32),
    /// The whole look fails.
    Fails(fn() -> NvmlError),
    /// The energy fails, the power does not.
    NoEnergy(fn() -> NvmlError, u64),
    /// A GPU beside its CPU: counter in mJ, its own power if it has one, and its module's power in mW.
    Super(u64, Option<u64>, u64),
}

/// The made driver; tests that use it take turns.
static DRIVER: Mutex<Driver> = Mutex::new(Driver { answers: Vec::new(), persistent: true, opened: 0 });
pub(super) static TURN: Mutex<()> = Mutex::new(());

pub(super) struct Driver {
    pub(super) answers: Vec<Answer>,
    pub(super) persistent: bool,
    pub(super) opened: u32,
}

pub(super) struct Made;

pub(super) fn driver() -> std::sync::MutexGuard<'static, Driver> {
    DRIVER.lock().expect("not poisoned")
}

fn answer(board: &Board) -> Answer {
    driver().answers[board.index as usize]
}

pub(super) fn set(answers: &[Answer]) {
    driver().answers = answers.to_vec();
}

impl Library for Made {
    fn driver_version(&self) -> Result<String, NvmlError> {
        Ok("570.86.15".into())
    }
    fn count(&self) -> Result<u32, NvmlError> {
        Ok(driver().answers.len() as u32)
    }
    fn describe(&self, index: u32) -> Result<Board, NvmlError> {
        let made = driver();
        let answer = made.answers[index as usize];
        if let Fails(why) = answer {
            return Err(why());
        }
        Ok(Board {
            index,
            uuid: format!("GPU-{index:08x}"),
            bus_id: format!("00000000:{index:02X}:00.0"),
            name: "Made H100".into(),
            limit_mw: 700_000,
            mig: index == 7,
            persistent: made.persistent,
            superchip: matches!(answer, Super(..)),
        })
    }
    fn fields(&self, board: &Board) -> Result<Fields, NvmlError> {
        let no = || Err(NvmlError::NotSupported);
        let yes = |value: u64| Ok(Ok(value));
        match answer(board) {
            Both(mj, mw) => Ok(Fields { energy_mj: yes(mj), average_mw: yes(mw), instant_mw: yes(mw + 99_000) }),
            InstantOnly(mw) => Ok(Fields { energy_mj: no(), average_mw: no(), instant_mw: yes(mw) }),
            NoEnergy(why, mw) => Ok(Fields { energy_mj: Err(why()), average_mw: yes(mw), instant_mw: no() }),
            Super(mj, own, _) => {
                Ok(Fields { energy_mj: yes(mj), average_mw: own.map_or_else(no, yes), instant_mw: no() })
            }
            Old(..) => Err(NvmlError::FunctionNotFound),
            Fails(why) => Err(why()),
        }
    }
    fn energy_mj(&self, board: &Board) -> Result<u64, NvmlError> {
        if let Old(mj, _) = answer(board) { Ok(mj) } else { Err(NvmlError::NotSupported) }
    }
    fn power_mw(&self, board: &Board) -> Result<u32, NvmlError> {
        match answer(board) {
            Old(_, mw) => Ok(mw),
            // Whatever it is of: the GPU, or the module.
            Super(_, _, mw) => Ok(mw as u32),
            Fails(why) => Err(why()),
            _ => Err(NvmlError::NotSupported),
        }
    }
    fn module(&self, board: &Board) -> Result<ModuleFields, NvmlError> {
        let no = || Err(NvmlError::NotSupported);
        match answer(board) {
            Super(_, _, mw) => {
                Ok(ModuleFields { average_mw: Ok(Ok(mw)), instant_mw: no(), limit_mw: Ok(Ok(2_900_000)) })
            }
            Fails(why) => Err(why()),
            _ => panic!("a board that is no superchip was asked for its module"),
        }
    }
}
