//! The one call to NVML that its wrapper cannot make: fields of a superchip's whole module.
//!
//! The wrapper leaves the scope of a field at zero, the GPU's own. This is the same call with the module's
//! scope, kept as small as it can be: `docs/decisions/0013-module-scope.md` says why it is here. Nothing
//! else in the project is unsafe, and a test of `tests/tidy` sees to it.

use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper::struct_wrappers::device::FieldValueSample;
use nvml_wrapper::{Device, Nvml};
use nvml_wrapper_sys::bindings::{
    NVML_POWER_SCOPE_MODULE, nvmlFieldValue_t, nvmlReturn_enum_NVML_ERROR_NO_DATA, nvmlValue_t,
};

/// How many fields are asked for: the average power, the instant power and the limit.
const FIELDS: i32 = 3;

/// Reads fields of the module that a GPU is on, by the numbers in `NVML_FI_DEV_…`.
///
/// # Errors
/// The driver's library has no such call, or the call fails; a field that fails has its own error.
#[expect(unsafe_code, reason = "the wrapper's field_values_for cannot name a scope")]
pub(super) fn module_fields(
    nvml: &Nvml,
    device: &Device<'_>,
    fields: [u32; FIELDS as usize],
) -> Result<[Result<FieldValueSample, NvmlError>; FIELDS as usize], NvmlError> {
    let read = nvml_sym(nvml.lib().nvmlDeviceGetFieldValues.as_ref())?;
    let mut values = fields.map(|field| nvmlFieldValue_t {
        fieldId: field,
        scopeId: NVML_POWER_SCOPE_MODULE,
        timestamp: 0,
        latencyUsec: 0,
        valueType: 0,
        // What the driver passes over is no zero.
        nvmlReturn: nvmlReturn_enum_NVML_ERROR_NO_DATA,
        value: nvmlValue_t { ullVal: 0 },
    });
    // SAFETY: `read` is the library's function of this name and `nvml` keeps the library loaded while it runs.
    // The handle comes from that library, whose session `device` borrows. `values` is an array of `FIELDS`
    // initialised structs of the C layout, exclusively ours, and the call keeps no pointer to it.
    let code = unsafe { read(device.handle(), FIELDS, values.as_mut_ptr()) };
    nvml_try(code)?;
    Ok(values.map(FieldValueSample::try_from))
}
