//! NVML as a small trait, and the driver's library behind it.
//!
//! The library is loaded at run time; a machine without it is normal. Only calls that read are made.

use std::ffi::OsStr;

use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION,
};
use nvml_wrapper::{Device, Nvml};

/// What the source asks of NVML. GPUs are named by their index, which is fixed while it is loaded.
pub(super) trait Library: Send {
    /// The driver's version.
    fn driver_version(&self) -> Result<String, NvmlError>;
    /// How many GPUs there are. MIG instances are not among them.
    fn count(&self) -> Result<u32, NvmlError>;
    /// What does not change while the driver is loaded.
    fn describe(&self, index: u32) -> Result<Board, NvmlError>;
    /// Energy and both powers in one call.
    fn fields(&self, index: u32) -> Result<Fields, NvmlError>;
    /// The energy counter alone, in mJ, for drivers without field values.
    fn energy_mj(&self, index: u32) -> Result<u64, NvmlError>;
    /// The power alone, in mW, for drivers without field values.
    fn power_mw(&self, index: u32) -> Result<u32, NvmlError>;
}

/// A GPU's identity and limit.
#[derive(Clone, Debug, Default)]
pub(super) struct Board {
    /// `GPU-…`; empty if the driver would not say.
    pub(super) uuid: String,
    /// The product.
    pub(super) name: String,
    /// The PCI address as sysfs writes it; empty if unknown.
    pub(super) pci: String,
    /// The highest power limit that can be set, in mW; zero if unknown.
    pub(super) limit_mw: u32,
    /// Whether the GPU is split into MIG instances.
    pub(super) mig: bool,
}

/// One look at a GPU, each value with its own error.
#[derive(Debug)]
pub(super) struct Fields {
    /// Energy since the driver was loaded, in mJ.
    pub(super) energy_mj: Result<u64, NvmlError>,
    /// Power averaged over about a second, in mW.
    pub(super) average_mw: Result<u64, NvmlError>,
    /// Power at the instant, in mW.
    pub(super) instant_mw: Result<u64, NvmlError>,
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
    fn device(&self, index: u32) -> Result<Device<'_>, NvmlError> {
        self.0.device_by_index(index)
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
        let device = self.device(index)?;
        let highest = device.power_management_limit_constraints().map(|limits| limits.max_limit);
        Ok(Board {
            uuid: device.uuid().unwrap_or_default(),
            name: device.name().unwrap_or_default(),
            pci: device.pci_info().map(|pci| sysfs_address(&pci.bus_id)).unwrap_or_default(),
            limit_mw: highest.or_else(|_| device.enforced_power_limit()).unwrap_or(0),
            mig: device.mig_mode().is_ok_and(|mode| mode.current != 0),
        })
    }

    fn fields(&self, index: u32) -> Result<Fields, NvmlError> {
        const WANTED: [FieldId; 3] = [
            FieldId(NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION),
            FieldId(NVML_FI_DEV_POWER_AVERAGE),
            FieldId(NVML_FI_DEV_POWER_INSTANT),
        ];
        let mut answers = self.device(index)?.field_values_for(&WANTED)?.into_iter();
        let mut next = || whole(answers.next().unwrap_or(Err(NvmlError::NoData))?.value?);
        Ok(Fields { energy_mj: next(), average_mw: next(), instant_mw: next() })
    }

    fn energy_mj(&self, index: u32) -> Result<u64, NvmlError> {
        self.device(index)?.total_energy_consumption()
    }

    fn power_mw(&self, index: u32) -> Result<u32, NvmlError> {
        self.device(index)?.power_usage()
    }
}

/// A field's whole number. The fields read here are never signed or fractional.
fn whole(value: SampleValue) -> Result<u64, NvmlError> {
    match value {
        SampleValue::U32(value) => Ok(value.into()),
        SampleValue::U64(value) => Ok(value),
        SampleValue::I64(value) => u64::try_from(value).map_err(|_| NvmlError::NoData),
        SampleValue::F64(_) => Err(NvmlError::NoData),
    }
}

/// NVML's `00000000:17:00.0` as sysfs's `0000:17:00.0`.
fn sysfs_address(bus_id: &str) -> String {
    let (domain, rest) = bus_id.split_once(':').unwrap_or(("", bus_id));
    let domain = u32::from_str_radix(domain, 16).unwrap_or(0);
    format!("{domain:04x}:{}", rest.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_id_becomes_the_name_of_a_sysfs_folder() {
        assert_eq!(sysfs_address("00000000:C1:00.0"), "0000:c1:00.0");
        assert_eq!(sysfs_address("00010000:01:00.0"), "10000:01:00.0");
    }

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let error = open("/nowhere/libnvidia-ml.so.1").err().expect("there is no such library");
        assert!(error.to_string().contains("/nowhere/libnvidia-ml.so.1"), "{error}");
    }
}
