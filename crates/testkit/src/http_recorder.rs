//! A server on loopback that writes down the HTTP requests it gets.
//!
//! As the proxy of a client it also stands for servers elsewhere: to `CONNECT` it answers as the
//! server itself, with a certificate of an [`Authority`] that the client trusts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Authority;

/// One request as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpRequest {
    /// Scheme, host and port it was sent to.
    pub server: String,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers; names in small letters.
    pub headers: BTreeMap<String, String>,
    /// What it brought.
    pub body: String,
}

/// A recording server; it ends when this is dropped.
pub struct HttpRecorder {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    ended: AtomicBool,
    requests: Mutex<Vec<HttpRequest>>,
    tls: Option<Arc<ServerConfig>>,
    /// Status line and body of all answers; none to stay silent.
    answer: Option<(String, String)>,
}

impl HttpRecorder {
    /// Starts a server that answers everything with this JSON.
    pub fn start(json: &str) -> HttpRecorder {
        HttpRecorder::with(Some(("200 OK", json)), None)
    }

    /// Starts a server that also stands for the servers that `authority` has certificates for.
    pub fn start_as_proxy(json: &str, authority: &Authority) -> HttpRecorder {
        HttpRecorder::with(Some(("200 OK", json)), Some(authority.server()))
    }

    /// Starts a server that answers everything with this status.
    pub fn refusing(status: &str) -> HttpRecorder {
        HttpRecorder::with(Some((status, "")), None)
    }

    /// Starts a server that takes requests and never answers.
    pub fn silent() -> HttpRecorder {
        HttpRecorder::with(None, None)
    }

    fn with(answer: Option<(&str, &str)>, tls: Option<Arc<ServerConfig>>) -> HttpRecorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let shared = Arc::new(Shared {
            ended: AtomicBool::new(false),
            requests: Mutex::default(),
            tls,
            answer: answer.map(|(status, body)| (status.to_owned(), body.to_owned())),
        });
        let all = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if all.ended.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&all);
                thread::spawn(move || shared.serve(client, port));
            }
        });
        HttpRecorder { port, shared }
    }

    /// Returns the address of the server, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the requests that came since the last call.
    pub fn take(&self) -> Vec<HttpRequest> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }
}

impl Drop for HttpRecorder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the one who waits for connections.
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

impl Shared {
    fn serve(&self, client: TcpStream, port: u16) {
        let _ = client.set_read_timeout(Some(Duration::from_secs(60)));
        let mut client = BufReader::new(client);
        let Some(first) = read_request(&mut client, format!("http://127.0.0.1:{port}")) else {
            return;
        };
        if first.method != "CONNECT" {
            let mut next = Some(first);
            while let Some(request) = next {
                if !self.record(request, client.get_mut()) {
                    return;
                }
                next = read_request(&mut client, format!("http://127.0.0.1:{port}"));
            }
            return;
        }
        let Some(tls) = &self.tls else {
            return;
        };
        let server = format!("https://{}", first.path.trim_end_matches(":443"));
        let mut plain = client.into_inner();
        let _ = plain.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n");
        let session = ServerConnection::new(Arc::clone(tls)).unwrap();
        let mut client = BufReader::new(StreamOwned::new(session, plain));
        while let Some(request) = read_request(&mut client, server.clone()) {
            if !self.record(request, client.get_mut()) {
                return;
            }
        }
    }

    /// Keeps a request and answers it; tells whether more may come.
    fn record(&self, request: HttpRequest, client: &mut impl Write) -> bool {
        self.requests.lock().unwrap().push(request);
        let Some((status, body)) = &self.answer else {
            while !self.ended.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50));
            }
            return false;
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        );
        client.write_all((head + body).as_bytes()).is_ok() && client.flush().is_ok()
    }
}

fn read_request(client: &mut impl BufRead, server: String) -> Option<HttpRequest> {
    let mut line = String::new();
    let mut next = |client: &mut dyn BufRead| {
        line.clear();
        client
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = next(client)?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let header = next(client)?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().ok()?];
    client.read_exact(&mut body).ok()?;
    Some(HttpRequest {
        server,
        method,
        path,
        headers,
        body: String::from_utf8(body).expect("services are sent text"),
    })
}
