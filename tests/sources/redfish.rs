//! BMCs by Redfish, on a server that stands in for them.
