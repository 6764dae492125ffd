//! By a kubelet that the tests make.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agents::jobs::kubernetes::{ContainerDevices, ContainerResources, PodResources, Pods};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::{Machine, gpu, held, names, words};

/// What the made-up kubelet answers.
#[derive(Clone, Default)]
struct Kubelet(Arc<Mutex<Answer>>);

#[derive(Default)]
struct Answer {
    pods: Pods,
    /// A status of gRPC that is not zero, if it is to fail.
    fails: Option<&'static str>,
    asked: usize,
}

impl Kubelet {
    /// Listens; the path is where.
    fn start(&self, path: PathBuf) -> JoinHandle<()> {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).expect("a socket");
        let kubelet = self.clone();
        actix_rt::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kubelet = kubelet.clone();
                let service = service_fn(move |request| {
                    let kubelet = kubelet.clone();
                    async move { Ok::<_, Infallible>(kubelet.answer(&request)) }
                });
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                actix_rt::spawn(server.serve_connection(TokioIo::new(stream), service));
            }
        })
    }

    fn answer(
        &self,
        request: &Request<Incoming>,
    ) -> Response<StreamBody<impl stream::Stream<Item = Result<Frame<Bytes>, Infallible>> + use<>>> {
        assert_eq!(request.uri().path(), "/v1.PodResourcesLister/List");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        let mut answer = self.0.lock().expect("a lock");
        answer.asked += 1;
        let list = answer.pods.encode_to_vec();
        let head = [&[0][..], &u32::try_from(list.len()).expect("short").to_be_bytes()].concat();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(answer.fails.unwrap_or("0")));
        trailers.insert("grpc-message", HeaderValue::from_static("so it is"));
        // In pieces, as a network may bring them.
        let data = [head, list].concat();
        let pieces = data.chunks(7).map(|piece| Frame::data(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
        let frames = pieces.into_iter().chain([Frame::trailers(trailers)]).map(Ok);
        let mut response = Response::new(StreamBody::new(stream::iter(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        response
    }

    fn set(&self, pods: Vec<PodResources>) {
        self.0.lock().expect("a lock").pods = Pods { pods };
    }

    fn fail(&self, status: Option<&'static str>) {
        self.0.lock().expect("a lock").fails = status;
    }

    /// Waits until it was asked at least twice more, so that what holds now was seen.
    async fn asked_twice(&self) {
        let asked = || self.0.lock().expect("a lock").asked;
        let before = asked();
        while asked() < before + 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn pod(name: &str, resource: &str, devices: &[&str], cores: i64) -> PodResources {
    let device_ids = devices.iter().map(|id| (*id).to_owned()).collect();
    let devices = vec![ContainerDevices { resource_name: resource.into(), device_ids }];
    let main = ContainerResources { name: "main".into(), devices, cpu_ids: (0..cores).collect() };
    PodResources { name: name.into(), namespace: "ml".into(), containers: vec![main] }
}

#[actix_rt::test]
async fn pods_begin_change_and_end_also_while_the_agent_is_away() {
    let mut machine = Machine::new();
    let kubernetes = &mut machine.settings.jobs.kubernetes;
    (kubernetes.enabled, kubernetes.period_ms) = (true, 1000);
    kubernetes.socket = machine.folder.path().join("kubelet.sock");
    machine.settings.jobs.cores_of = 32;
    let (socket, kubelet) = (machine.settings.jobs.kubernetes.socket.clone(), Kubelet::default());
    let [first, second] = [gpu(0), gpu(1)];
    let train = pod("train", "nvidia.com/gpu", &[&first], 4);
    let web = pod("web", "rdma/hca", &["mlx5_0"], 0);
    let odd = pod("odd", "nvidia.com/gpu", &["GPU-nobody-reads", &second], 0);
    kubelet.set(vec![train.clone(), web.clone(), odd.clone()]);
    let listening = kubelet.start(socket.clone());

    let agent = machine.start();
    let marks = machine.marks(2).await;
    assert_eq!(words(&marks), ["+ml/odd", "+ml/train"], "a pod without devices that are measured is none");
    assert_eq!((held(&marks[0]), held(&marks[1])), ((names(&[1]), 0, 0), (names(&[0]), 4, 32)));
    // The same again says nothing; a change begins anew; what is gone has ended.
    kubelet.asked_twice().await;
    assert_eq!(machine.fake.seen().marks().len(), 2);
    kubelet.set(vec![pod("train", "nvidia.com/gpu", &[&first, &second], 4), web.clone()]);
    let marks = machine.marks(4).await;
    assert_eq!(words(&marks[2..]), ["-ml/odd", "+ml/train"]);
    assert_eq!(held(&marks[3]).0, names(&[0, 1]));
    // A kubelet that fails, or is not there, ends nobody.
    kubelet.fail(Some("14"));
    kubelet.asked_twice().await;
    listening.abort();
    agent.stop().await;
    let agent = machine.start();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    agent.stop().await;
    assert_eq!(machine.fake.seen().marks().len(), 4);
    // While nobody listened one ended and another began.
    kubelet.fail(None);
    kubelet.set(vec![odd, web]);
    let listening = kubelet.start(socket);
    let agent = machine.start();
    let marks = machine.marks(6).await;
    assert_eq!(words(&marks[4..]), ["-ml/train", "+ml/odd"]);
    agent.stop().await;
    listening.abort();
}
