//! NVML as a small trait, and the driver's library behind it.
//!
//! The library is loaded at run time; a machine without it is normal. Only calls that read are made.

use std::ffi::OsStr;

use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_C2C_LINK_COUNT, NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_MAX_LIMIT,
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
};
use nvml_wrapper::{Device, Nvml};

use super::module::module_fields;

/// What the source asks of NVML.
pub(super) trait Library: Send {
    /// The driver's version.
    fn driver_version(&self) -> Result<String, NvmlError>;
    /// How many GPUs there are. MIG instances are not among them.
    fn count(&self) -> Result<u32, NvmlError>;
    /// What does not change while the GPU is there.
    fn describe(&self, index: u32) -> Result<Board, NvmlError>;
    /// Energy and both powers in one call.
    fn fields(&self, board: &Board) -> Result<Fields, NvmlError>;
    /// The energy counter alone, in mJ, for drivers without field values.
    fn energy_mj(&self, board: &Board) -> Result<u64, NvmlError>;
    /// The power alone, in mW, for drivers without field values.
    fn power_mw(&self, board: &Board) -> Result<u32, NvmlError>;
    /// The power and the limit of the whole module that the GPU is on: of superchips only.
    fn module(&self, board: &Board) -> Result<ModuleFields, NvmlError>;
}

/// A GPU's identity and limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// Its number. Numbers shift when the driver discovers another GPU, so they only serve to find it.
    pub(super) index: u32,
    /// `GPU-…`; empty if the driver would not say.
    pub(super) uuid: String,
    /// The product.
    pub(super) name: String,
    /// The PCI address as NVML writes it, by which the GPU is asked for; empty if unknown.
    pub(super) bus_id: String,
    /// The highest power limit that can be set, in mW; zero if unknown.
    pub(super) limit_mw: u32,
    /// Whether the GPU is split into MIG instances.
    pub(super) mig: bool,
    /// Whether the driver keeps the GPU set up while nobody uses it.
    pub(super) persistent: bool,
    /// Whether it is on one module with a CPU (GH200, GB200): it has links from chip to chip. The source takes
    /// that back where NVML does not measure the module.
    pub(super) superchip: bool,
}

/// What a field said: an error, a number, or something that is none.
pub(super) type Answer = Result<Result<u64, NotANumber>, NvmlError>;

/// A field that was answered, but not with a number that it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotANumber {
    /// Below zero.
    Negative,
    /// A fraction, or a type that NVML does not have.
    Malformed,
}

/// One look at a GPU, each value with its own error.
#[derive(Debug)]
pub(super) struct Fields {
    /// Energy since the driver was loaded, in mJ.
    pub(super) energy_mj: Answer,
    /// Power averaged over about a second, in mW.
    pub(super) average_mw: Answer,
    /// Power at the instant, in mW.
    pub(super) instant_mw: Answer,
}

/// One look at a module.
#[derive(Debug)]
pub(super) struct ModuleFields {
    /// Power averaged over about a second, in mW.
    pub(super) average_mw: Answer,
    /// Power at the instant, in mW.
    pub(super) instant_mw: Answer,
    /// The highest power limit that can be set, in mW.
    pub(super) limit_mw: Answer,
}

impl Board {
    /// The PCI address as sysfs writes it: NVML's `00000000:17:00.0` is `0000:17:00.0`.
    pub(super) fn pci(&self) -> String {
        let (domain, rest) = self.bus_id.split_once(':').unwrap_or(("", &self.bus_id));
        if rest.is_empty() {
            return String::new();
        }
        let domain = u32::from_str_radix(domain, 16).unwrap_or(0);
        format!("{domain:04x}:{}", rest.to_ascii_lowercase())
    }
}

/// Loads the driver's library; `path` is a name for the loader or a path.
///
/// # Errors
/// The library cannot be found or loaded, or the driver does not answer.
pub(super) fn open(path: &str) -> Result<Box<dyn Library>, NvmlError> {
    Ok(Box::new(Loaded(Nvml::builder().lib_path(OsStr::new(path)).init()?)))
}

struct Loaded(Nvml);

impl Loaded {
    fn device(&self, board: &Board) -> Result<Device<'_>, NvmlError> {
        if board.bus_id.is_empty() {
            return self.0.device_by_index(board.index);
        }
        self.0.device_by_pci_bus_id(board.bus_id.as_str())
    }
}

impl Library for Loaded {
    fn driver_version(&self) -> Result<String, NvmlError> {
        self.0.sys_driver_version()
    }

    fn count(&self) -> Result<u32, NvmlError> {
        self.0.device_count()
    }

    fn describe(&self, index: u32) -> Result<Board, NvmlError> {
        let device = self.0.device_by_index(index)?;
        let highest = device.power_management_limit_constraints().map(|limits| limits.max_limit);
        let links = device.field_values_for(&[FieldId(NVML_FI_DEV_C2C_LINK_COUNT)]);
        let links = links.ok().and_then(|links| answer(links.into_iter().next()).ok()?.ok());
        Ok(Board {
            index,
            uuid: device.uuid().unwrap_or_default(),
            name: device.name().unwrap_or_default(),
            bus_id: device.pci_info().map(|pci| pci.bus_id).unwrap_or_default(),
            limit_mw: highest.or_else(|_| device.enforced_power_limit()).unwrap_or(0),
            mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
            persistent: device.is_in_persistent_mode().unwrap_or(false),
            superchip: links.is_some_and(|links| links > 0),
        })
    }

    fn fields(&self, board: &Board) -> Result<Fields, NvmlError> {
        const WANTED: [FieldId; 3] = [
            FieldId(NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION),
            FieldId(NVML_FI_DEV_POWER_AVERAGE),
            FieldId(NVML_FI_DEV_POWER_INSTANT),
        ];
        let mut answers = self.device(board)?.field_values_for(&WANTED)?.into_iter();
        let mut next = || answer(answers.next());
        Ok(Fields { energy_mj: next(), average_mw: next(), instant_mw: next() })
    }

    fn energy_mj(&self, board: &Board) -> Result<u64, NvmlError> {
        self.device(board)?.total_energy_consumption()
    }

    fn power_mw(&self, board: &Board) -> Result<u32, NvmlError> {
        self.device(board)?.power_usage()
    }

    fn module(&self, board: &Board) -> Result<ModuleFields, NvmlError> {
        let wanted = [NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_POWER_MAX_LIMIT];
        let [average, instant, limit] = module_fields(&self.0, &self.device(board)?, wanted)?;
        Ok(ModuleFields {
            average_mw: answer(Some(average)),
            instant_mw: answer(Some(instant)),
            limit_mw: answer(Some(limit)),
        })
    }
}

/// A field's whole number. The fields read here are never negative or fractional.
fn answer(field: Option<Result<FieldValueSample, NvmlError>>) -> Answer {
    // A field fails as a whole only if its type is one that NVML does not have.
    let Ok(sample) = field.unwrap_or(Err(NvmlError::NoData)) else { return Ok(Err(NotANumber::Malformed)) };
    Ok(match sample.value? {
        SampleValue::U32(value) => Ok(value.into()),
        SampleValue::U64(value) => Ok(value),
        SampleValue::I64(value) => u64::try_from(value).map_err(|_| NotANumber::Negative),
        SampleValue::F64(_) => Err(NotANumber::Malformed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_id_becomes_the_name_of_a_sysfs_folder() {
        let pci = |bus_id: &str| Board { bus_id: bus_id.into(), ..Board::default() }.pci();
        assert_eq!(pci("00000000:C1:00.0"), "0000:c1:00.0");
        assert_eq!(pci("00010000:01:00.0"), "10000:01:00.0");
        assert_eq!(pci(""), "");
    }

    #[test]
    fn a_field_is_a_whole_number_or_says_why_not() {
        let sample = |value| Some(Ok(FieldValueSample { field: FieldId(83), timestamp: 0, latency: 0, value }));
        let number = |value| answer(sample(Ok(value))).expect("no error");
        assert_eq!(number(SampleValue::U32(7)), Ok(7));
        assert_eq!(number(SampleValue::U64(u64::MAX)), Ok(u64::MAX));
        assert_eq!(number(SampleValue::I64(7)), Ok(7));
        assert_eq!(number(SampleValue::I64(-1)), Err(NotANumber::Negative));
        // What a driver leaves untouched reads as a fraction: 0.0.
        assert_eq!(number(SampleValue::F64(0.0)), Err(NotANumber::Malformed));
        assert!(matches!(answer(sample(Err(NvmlError::Timeout))), Err(NvmlError::Timeout)));
        assert_eq!(answer(Some(Err(NvmlError::UnexpectedVariant(77)))).expect("no error"), Err(NotANumber::Malformed));
    }

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let error = open("/nowhere/libnvidia-ml.so.1").err().expect("there is no such library");
        assert!(error.to_string().contains("/nowhere/libnvidia-ml.so.1"), "{error}");
    }
}
