//! A mail server on loopback that writes down the messages it gets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::Authority;

/// How a server and its clients agree on encryption.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SmtpKind {
    /// Not at all.
    Plain,
    /// After `STARTTLS`, without which nothing is taken.
    StartTls,
    /// From the first byte.
    Tls,
    /// The server takes connections and says nothing.
    Silent,
}

/// A message as it came.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// The commands of the client before the message, one by one.
    pub commands: Vec<String>,
    /// The message with its headers.
    pub text: String,
    /// Whether the connection was encrypted.
    pub encrypted: bool,
}

/// A recording server; it ends when this is dropped.
pub struct SmtpRecorder {
    port: u16,
    ended: Arc<AtomicBool>,
    mails: Arc<Mutex<Vec<Mail>>>,
}

impl SmtpRecorder {
    /// Starts a server with a certificate of `authority`.
    pub fn start(kind: SmtpKind, authority: &Authority) -> SmtpRecorder {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let recorder = SmtpRecorder {
            port,
            ended: Arc::default(),
            mails: Arc::default(),
        };
        let (ended, mails) = (Arc::clone(&recorder.ended), Arc::clone(&recorder.mails));
        let tls = authority.server();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                if kind == SmtpKind::Silent {
                    silent.push(client);
                    continue;
                }
                let _ = client.set_read_timeout(Some(Duration::from_secs(60)));
                let (tls, mails) = (Arc::clone(&tls), Arc::clone(&mails));
                thread::spawn(move || serve(client, kind, tls, &mails));
            }
        });
        recorder
    }

    /// Returns the port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the messages that came since the last call.
    pub fn take(&self) -> Vec<Mail> {
        std::mem::take(&mut *self.mails.lock().unwrap())
    }
}

impl Drop for SmtpRecorder {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let _ = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    }
}

fn serve(mut client: TcpStream, kind: SmtpKind, tls: Arc<ServerConfig>, mails: &Mutex<Vec<Mail>>) {
    let mut mail = Mail::default();
    if kind != SmtpKind::Tls {
        let _ = client.write_all(b"220 ready\r\n");
        let offer = (kind == SmtpKind::StartTls).then_some("STARTTLS");
        let (ended, plain) = talk(client, offer, &mut mail, mails);
        if ended {
            return;
        }
        client = plain;
    }
    mail.encrypted = true;
    let session = ServerConnection::new(tls).unwrap();
    let mut stream = StreamOwned::new(session, client);
    if kind == SmtpKind::Tls {
        let _ = stream.write_all(b"220 ready\r\n");
    }
    talk(stream, None, &mut mail, mails);
}

/// Talks until the client goes, or wants to encrypt; tells whether it went.
fn talk<S: Read + Write>(
    stream: S,
    offer: Option<&str>,
    mail: &mut Mail,
    mails: &Mutex<Vec<Mail>>,
) -> (bool, S) {
    let mut client = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if !client.read_line(&mut line).is_ok_and(|count| count > 0) {
            return (true, client.into_inner());
        }
        let command = line.trim_end().to_owned();
        let word = command.split(' ').next().unwrap_or_default().to_uppercase();
        mail.commands.push(command);
        let answer = match (word.as_str(), offer) {
            ("EHLO", Some(offer)) => format!("250-hello\r\n250 {offer}\r\n"),
            ("EHLO", None) => "250-hello\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
            ("STARTTLS", Some(_)) => "220 go on\r\n".to_owned(),
            ("QUIT", _) => "221 bye\r\n".to_owned(),
            (_, Some(_)) => "530 encrypt first\r\n".to_owned(),
            ("AUTH", None) => "235 welcome\r\n".to_owned(),
            ("DATA", None) => "354 go on\r\n".to_owned(),
            _ => "250 fine\r\n".to_owned(),
        };
        let stream = client.get_mut();
        if stream.write_all(answer.as_bytes()).is_err() || stream.flush().is_err() {
            return (true, client.into_inner());
        }
        if word == "STARTTLS" && offer.is_some() {
            return (false, client.into_inner());
        }
        if word == "DATA" && offer.is_none() {
            while !mail.text.ends_with("\r\n.\r\n") {
                if !client
                    .read_line(&mut mail.text)
                    .is_ok_and(|count| count > 0)
                {
                    return (true, client.into_inner());
                }
            }
            mails.lock().unwrap().push(std::mem::take(mail));
            let _ = client.get_mut().write_all(b"250 taken\r\n");
        }
    }
}
