//! The kubelet's PodResources service, version 1: one call over HTTP/2 on a Unix socket
//! (`staging/src/k8s.io/kubelet/pkg/apis/podresources/v1/api.proto` of Kubernetes).
//!
//! The messages are written down by hand, the fields that are needed: protobuf passes over the rest.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, TE};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;

/// How long an answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Most bytes of an answer: what the kubelet's own clients take.
const ANSWER_MAX: usize = 16 << 20;
/// Before each message of gRPC: whether it is compressed, and its length in four bytes.
const HEAD: usize = 5;
/// The call.
const LIST: &str = "http://localhost/v1.PodResourcesLister/List";

/// Which pods hold what.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Pods {
    /// One for each pod.
    #[prost(message, repeated, tag = "1")]
    pub pods: Vec<PodResources>,
}

/// What one pod holds.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PodResources {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its namespace.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// What each of its containers holds.
    #[prost(message, repeated, tag = "3")]
    pub containers: Vec<ContainerResources>,
}

/// What one container holds.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerResources {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Devices of device plugins.
    #[prost(message, repeated, tag = "2")]
    pub devices: Vec<ContainerDevices>,
    /// Cores that are its alone.
    #[prost(int64, repeated, tag = "3")]
    pub cpu_ids: Vec<i64>,
}

/// Devices of one resource, of one NUMA node.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerDevices {
    /// The resource: `nvidia.com/gpu`.
    #[prost(string, tag = "1")]
    pub resource_name: String,
    /// The devices, as their plugin names them.
    #[prost(string, repeated, tag = "2")]
    pub device_ids: Vec<String>,
}

/// Asks which pods hold what.
///
/// # Errors
/// Why there is no answer, in words.
pub async fn list(socket: &Path) -> Result<Pods, String> {
    let asked = tokio::time::timeout(ANSWER_TIME, ask(socket)).await;
    asked.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_TIME.as_secs())))
}

async fn ask(socket: &Path) -> Result<Pods, String> {
    let said = |error: hyper::Error| format!("HTTP/2: {error}");
    let stream = UnixStream::connect(socket).await.map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .map_err(said)?;
    // Its faults show in the answer; it ends with the sender.
    actix_rt::spawn(async move { _ = connection.await });
    // An empty message: the call has no parameters.
    let request = Request::post(LIST)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from_static(&[0; HEAD])))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(said)?;
    if response.status() != StatusCode::OK {
        return Err(format!("HTTP status {}", response.status()));
    }
    status(response.headers())?;
    let body =
        Limited::new(response.into_body(), ANSWER_MAX + HEAD).collect().await.map_err(|error| error.to_string())?;
    if let Some(trailers) = body.trailers() {
        status(trailers)?;
    }
    message(&body.to_bytes())
}

/// Whether gRPC says that all is well: zero, or nothing yet.
fn status(headers: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status") {
        None => Ok(()),
        Some(code) if code == "0" => Ok(()),
        Some(code) => {
            let why: String = text("grpc-message").unwrap_or_default().chars().take(200).collect();
            Err(format!("gRPC status {code}: {why}"))
        }
    }
}

/// The message of an answer.
fn message(body: &[u8]) -> Result<Pods, String> {
    let Some((head, content)) = body.split_at_checked(HEAD) else { return Err("the answer is cut short".into()) };
    let length = head[1..].iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    if head[0] != 0 {
        return Err("the answer is compressed, which nobody asked for".into());
    }
    let content = content.get(..length).ok_or("the answer is cut short")?;
    Pods::decode(content).map_err(|error| format!("the answer is no list of pods: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_one_message_with_a_head() {
        // Written by hand from the protocol: field 1 of 13 bytes: name "p", namespace "n", a container with cores 1, 2.
        let list = [0x0a, 13, 0x0a, 1, b'p', 0x12, 1, b'n', 0x1a, 5, 0x1a, 2, 1, 2, 0x28];
        let mut list = list.to_vec();
        // A field that is not known here, within the container.
        list[10..].copy_from_slice(&[0x1a, 2, 1, 2, 0x28]);
        list.push(0);
        list[1] = 14;
        list[9] = 6;
        let mut body = vec![0, 0, 0, 0, list.len() as u8];
        body.extend(&list);
        let pods = message(&body).expect("a list");
        assert_eq!((pods.pods[0].name.as_str(), pods.pods[0].namespace.as_str()), ("p", "n"));
        assert_eq!(pods.pods[0].containers[0].cpu_ids, [1, 2]);
        assert_eq!(message(&[0; HEAD]).expect("nobody"), Pods::default());
        for bad in [&body[..4], &body[..body.len() - 1], &[1, 0, 0, 0, 0], &[0, 0, 0, 0, 2, 0x0a, 9]] {
            assert!(message(bad).is_err(), "{bad:?}");
        }
    }
}
