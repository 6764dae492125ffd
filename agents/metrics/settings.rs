//! Settings of the agent's own metrics.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Where the agent shows how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Address and port of `/metrics`; empty for none.
    pub listen: String,
    /// Whether an address that others can reach is meant: there is no password.
    pub insecure: bool,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9811".into(), insecure: false }
    }
}

impl MetricsSettings {
    /// Whether an address may be listened on: a loopback one, or any if that is said to be wanted.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn check(&self) -> Result<(), String> {
        let listen = &self.listen;
        if listen.is_empty() {
            return Ok(());
        }
        let address: SocketAddr =
            listen.parse().map_err(|_| format!("metrics.listen = {listen:?}: it looks like 127.0.0.1:9811"))?;
        if address.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        Err(format!(
            "metrics.listen = {listen:?}: others could read it without a password; metrics.insecure = true says that this is meant"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_may_listen_only_where_that_is_said() {
        let with = |listen: &str, insecure| MetricsSettings { listen: listen.into(), insecure }.check();
        for good in ["", "127.0.0.1:9811", "[::1]:0", "127.8.0.1:1"] {
            assert_eq!(with(good, false), Ok(()), "{good}");
        }
        for open in ["0.0.0.0:9811", "[::]:9811", "10.0.0.7:9811"] {
            assert!(with(open, false).is_err_and(|why| why.contains("metrics.insecure = true")), "{open}");
            assert_eq!(with(open, true), Ok(()), "{open}");
        }
        for bad in ["9811", "localhost:9811", "x"] {
            assert!(with(bad, true).is_err(), "{bad}");
        }
    }
}
