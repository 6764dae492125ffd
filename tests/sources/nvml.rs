//! The source `nvml` on a library that stands in for the driver.
