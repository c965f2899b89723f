//! A relay between a client and a server on loopback that is slow, or cuts the connection, or
//! counts how often the client waits for an answer.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What a relay does to the connections that go through it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fault {
    /// How long bytes are on their way, in each direction.
    pub delay: Duration,
    /// Both directions end when so many bytes went to the server.
    pub cut_to_server: Option<u64>,
    /// Both directions end when so many bytes came from the server.
    pub cut_from_server: Option<u64>,
    /// Answers are kept back until the client has been silent for so long: until it cannot go on
    /// without.
    pub patience: Option<Duration>,
}

#[derive(Debug)]
struct Counts {
    /// Bytes to the server and from it.
    bytes: [AtomicU64; 2],
    /// How many there were.
    connections: AtomicU64,
    /// How often an answer was kept back.
    waits: AtomicU64,
    /// When the client last said something, and whether it has been answered since.
    last_said: Mutex<(Instant, bool)>,
}

/// A relay; it ends when this is dropped, with its connections.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    ended: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

impl Relay {
    /// Starts a relay to a port of this machine.
    pub fn start(server: u16, fault: Fault) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let ended = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts {
            bytes: Default::default(),
            connections: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            last_said: Mutex::new((Instant::now(), true)),
        });
        let (end, sums) = (Arc::clone(&ended), Arc::clone(&counts));
        thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server));
                if let (Ok(client), Ok(server)) = (client, server) {
                    sums.connections.fetch_add(1, Ordering::Relaxed);
                    connect(&client, &server, fault, &sums);
                }
            }
        });
        Relay {
            port,
            ended,
            counts,
        }
    }

    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many bytes went to the server, and how many came from it.
    pub fn bytes(&self) -> (u64, u64) {
        let [to, from] = &self.counts.bytes;
        (to.load(Ordering::Relaxed), from.load(Ordering::Relaxed))
    }

    /// Returns how many connections there were.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// Returns how often the client waited for the server, if there is a patience.
    pub fn waits(&self) -> u64 {
        self.counts.waits.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the one who waits for connections.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

fn connect(client: &TcpStream, server: &TcpStream, fault: Fault, counts: &Arc<Counts>) {
    for stream in [client, server] {
        let _ = stream.set_nodelay(true);
    }
    let ways = [
        (client, server, fault.cut_to_server),
        (server, client, fault.cut_from_server),
    ];
    for (way, (from, to, cut)) in ways.into_iter().enumerate() {
        let (Ok(mut from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(4096);
        let is_answer = way == 1;
        let heard = Arc::clone(counts);
        let counts = Arc::clone(counts);
        let patience = fault.patience.filter(|_| is_answer);
        thread::spawn(move || pass_on(&receiver, to, cut, patience, &counts, way));
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count) = from.read(&mut buffer)
                && count > 0
            {
                if !is_answer {
                    *heard.last_said.lock().unwrap() = (Instant::now(), false);
                }
                let due = Instant::now() + fault.delay;
                if sender.send((due, buffer[..count].to_vec())).is_err() {
                    break;
                }
            }
            // A connection that was cut is of no use in the other direction either.
            let _ = from.shutdown(Shutdown::Read);
        });
    }
}

fn pass_on(
    receiver: &Receiver<(Instant, Vec<u8>)>,
    mut to: TcpStream,
    cut: Option<u64>,
    patience: Option<Duration>,
    counts: &Counts,
    way: usize,
) {
    let mut left = cut.unwrap_or(u64::MAX);
    for (due, mut bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if let Some(patience) = patience {
            keep_back(patience, counts);
            bytes.extend(receiver.try_iter().flat_map(|(_, bytes)| bytes));
        }
        let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if to.write_all(&bytes[..now]).is_err() {
            break;
        }
        counts.bytes[way].fetch_add(now as u64, Ordering::Relaxed);
        left -= now as u64;
        if left == 0 {
            break;
        }
    }
    let end = match left {
        0 => Shutdown::Both,
        _ => Shutdown::Write,
    };
    let _ = to.shutdown(end);
}

/// Waits until the client has been silent for so long.
fn keep_back(patience: Duration, counts: &Counts) {
    loop {
        let mut said = counts.last_said.lock().unwrap();
        let left = patience.saturating_sub(said.0.elapsed());
        if left.is_zero() {
            let was_answered = std::mem::replace(&mut said.1, true);
            counts
                .waits
                .fetch_add(u64::from(!was_answered), Ordering::Relaxed);
            return;
        }
        drop(said);
        thread::sleep(left);
    }
}
