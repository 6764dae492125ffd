//! How the agent speaks HTTP, to whomever it does: version 1.1, directly, to nobody but who was named.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder};

/// How long a connection is kept for the next request: less than the 75 s after which the aggregator closes it.
const IDLE_MAX: Duration = Duration::from_secs(74);

/// The beginnings of a client whose requests take at most `timeout`: one connection per server, no proxy, and
/// redirects are not followed, because credentials and readings are for the server that was named.
pub(crate) fn client(timeout: Duration) -> ClientBuilder {
    // Without a provider the client panics, even for plain HTTP. It may be installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(IDLE_MAX)
        .tcp_nodelay(true)
        .connect_timeout(timeout)
        .timeout(timeout)
}
