//! A toy proxy between agents and aggregator that does to HTTP what networks and middleboxes do: cuts, delays,
//! repeats, garbles. It keeps every post that was sent, so that the oracle knows also what no spool holds.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::dice::Dice;

/// What can become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The connection is cut while the request is on its way: a part of it arrives.
    CutRequest,
    /// The request stays half sent, the connection open.
    HalfOpen,
    /// It arrives after the sender gave up.
    LateRequest,
    /// It is applied, and the reply never arrives.
    DropReply,
    /// The reply comes after the sender gave up.
    LateReply,
    /// The connection is cut while the reply is on its way.
    CutReply,
    /// It arrives three times, the last one much later.
    Repeat,
    /// The reply is another one than was sent.
    Garbage,
}

impl Fault {
    /// All of them; the last one makes an agent wait for half a minute.
    pub(crate) const ALL: [Self; 8] = [
        Self::CutRequest,
        Self::HalfOpen,
        Self::LateRequest,
        Self::DropReply,
        Self::LateReply,
        Self::CutReply,
        Self::Repeat,
        Self::Garbage,
    ];
}

/// The proxy at work.
pub(crate) struct Proxy {
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: String,
    dice: Mutex<Dice>,
    /// What may happen; nothing for a faithful proxy.
    faults: Mutex<Vec<Fault>>,
    done: Mutex<Vec<Fault>>,
    bodies: Mutex<Vec<Vec<u8>>>,
    ended: AtomicBool,
}

impl Proxy {
    /// Stands in front of an aggregator's address.
    pub(crate) fn start(upstream: &str, dice: Dice) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address").to_string();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            dice: Mutex::new(dice),
            faults: Mutex::default(),
            done: Mutex::default(),
            bodies: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let served = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&served);
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                // Whatever breaks here is what networks do.
                std::thread::spawn(move || drop(shared.serve(client)));
            }
        });
        Self { address, shared }
    }

    /// From now on this may happen, to every other request or so.
    pub(crate) fn inflict(&self, faults: &[Fault]) {
        *self.shared.faults.lock().expect("the faults") = faults.to_vec();
    }

    /// How often each fault was inflicted.
    pub(crate) fn inflicted(&self) -> Vec<(Fault, usize)> {
        let done = self.shared.done.lock().expect("the faults");
        Fault::ALL.into_iter().map(|fault| (fault, done.iter().filter(|one| **one == fault).count())).collect()
    }

    /// The bodies of all posts so far, in the order they were sent.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.shared.bodies.lock().expect("the bodies").clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(&self.address));
    }
}

impl Shared {
    fn serve(self: &Arc<Self>, mut client: TcpStream) -> io::Result<()> {
        loop {
            let request = message(&mut client)?;
            self.bodies.lock().expect("the bodies").push(body(&request).to_vec());
            match self.choose() {
                None => client.write_all(&self.forward(&request)?)?,
                Some(fault) => self.inflict(fault, &mut client, &request)?,
            }
        }
    }

    fn choose(&self) -> Option<Fault> {
        let faults = self.faults.lock().expect("the faults");
        let mut dice = self.dice.lock().expect("the dice");
        let fault = (dice.below(2) == 0).then(|| faults.get(dice.below(faults.len() as u64) as usize).copied());
        let fault = fault.flatten();
        self.done.lock().expect("the faults").extend(fault);
        fault
    }

    fn below(&self, end: usize) -> usize {
        self.dice.lock().expect("the dice").below(end as u64) as usize
    }

    /// Does it; an error closes the connection.
    fn inflict(self: &Arc<Self>, fault: Fault, client: &mut TcpStream, request: &[u8]) -> io::Result<()> {
        let over = || Err(io::ErrorKind::ConnectionAborted.into());
        // Agents wait for a second.
        let late = Duration::from_millis(1100 + self.below(1000) as u64);
        match fault {
            Fault::CutRequest | Fault::HalfOpen => {
                let mut upstream = TcpStream::connect(&self.upstream)?;
                upstream.write_all(&request[..self.below(request.len())])?;
                if fault == Fault::HalfOpen {
                    std::thread::sleep(late);
                }
                over()
            }
            Fault::LateRequest => {
                std::thread::sleep(late);
                let reply = self.forward(request)?;
                client.write_all(&reply)
            }
            Fault::DropReply => self.forward(request).and_then(|_| over()),
            Fault::LateReply => {
                let reply = self.forward(request)?;
                std::thread::sleep(late);
                client.write_all(&reply)
            }
            Fault::CutReply => {
                let reply = self.forward(request)?;
                client.write_all(&reply[..self.below(reply.len())])?;
                over()
            }
            Fault::Repeat => {
                self.forward(request)?;
                let (this, again) = (Arc::clone(self), request.to_vec());
                std::thread::spawn(move || {
                    std::thread::sleep(late * 2);
                    let _ = this.forward(&again);
                });
                let reply = self.forward(request)?;
                client.write_all(&reply)
            }
            Fault::Garbage => {
                let mut reply = self.forward(request)?;
                let length = body(&reply).len();
                if length > 0 && self.below(2) == 0 {
                    let at = reply.len() - 1 - self.below(length);
                    reply[at] ^= 1 << self.below(8);
                } else {
                    reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<h1>Log in</h1>"
                        .to_vec();
                }
                client.write_all(&reply)
            }
        }
    }

    /// Sends a request on and gives the reply.
    fn forward(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut upstream = TcpStream::connect(&self.upstream)?;
        upstream.set_read_timeout(Some(Duration::from_secs(20)))?;
        upstream.write_all(request)?;
        message(&mut upstream)
    }
}

/// Reads one message whose head tells its length.
fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(head) = head(&bytes) {
            let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if bytes.len() >= head + length.unwrap_or(0_usize) {
                return Ok(bytes);
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Where a message's head ends.
fn head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn body(message: &[u8]) -> &[u8] {
    head(message).map_or(&[], |head| &message[head..])
}
