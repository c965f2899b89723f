//! A relay between a client and a server on loopback that is slow, or cuts the connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
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
}

/// A relay; it ends when this is dropped, with its connections.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    ended: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
}

impl Relay {
    /// Starts a relay to a port of this machine.
    pub fn start(server: u16, fault: Fault) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let ended = Arc::new(AtomicBool::new(false));
        let counts: Arc<[AtomicU64; 2]> = Arc::default();
        let (end, sums) = (Arc::clone(&ended), Arc::clone(&counts));
        thread::spawn(move || {
            for client in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server));
                if let (Ok(client), Ok(server)) = (client, server) {
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
        let [to, from] = &*self.counts;
        (to.load(Ordering::Relaxed), from.load(Ordering::Relaxed))
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

fn connect(client: &TcpStream, server: &TcpStream, fault: Fault, counts: &Arc<[AtomicU64; 2]>) {
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
        let counts = Arc::clone(counts);
        thread::spawn(move || pass_on(&receiver, to, cut, &counts[way]));
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(count) = from.read(&mut buffer)
                && count > 0
            {
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
    count: &AtomicU64,
) {
    let mut left = cut.unwrap_or(u64::MAX);
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        if to.write_all(&bytes[..now]).is_err() {
            break;
        }
        count.fetch_add(now as u64, Ordering::Relaxed);
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
