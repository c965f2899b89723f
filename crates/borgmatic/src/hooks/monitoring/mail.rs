//! E-mail, which borgmatic does not have: `mail:` under `fastness:`.
//!
//! A message tells what was done and what was not, and ends with the log. It goes to a mail server
//! (encrypted unless the configuration says otherwise), or to the machine's own `sendmail`. Either
//! gets [`MAIL_LIMIT`] for all of it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use lettre::address::AddressError;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{
    Certificate, CertificateStore, Tls, TlsParameters, TlsParametersBuilder,
};
use lettre::{SmtpTransport, Transport};

use super::tail::Tail;
use super::{Context, Monitor, Node, PingError, Service, State, States, hostname, text};
use crate::config::error::ConfigError;
use crate::config::options::EXTRAS;

/// How long a message may take on its way.
const MAIL_LIMIT: Duration = Duration::from_secs(30);

/// The most bytes of the log in a message.
const LOG_BYTES: i64 = 100_000;

/// The most bytes of a complaint that are read.
const COMPLAINT_BYTES: u64 = 4096;

/// The service.
pub struct Mail;

struct Messages {
    from: Option<String>,
    to: Vec<String>,
    /// Subjects at the end and at a failure.
    subjects: [Option<String>; 2],
    states: States,
    way: Way,
    tail: Option<Tail>,
}

/// How messages leave.
enum Way {
    /// By a program of this machine.
    Program(String),
    /// By a mail server.
    Server(Server),
}

#[derive(Clone)]
struct Server {
    host: String,
    port: u16,
    encryption: Encryption,
    verify: bool,
    username: Option<String>,
    password: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    /// From the first byte.
    Tls,
    /// Once both sides have spoken; not without.
    StartTls,
    /// None.
    Off,
}

impl Service for Mail {
    fn key(&self) -> &'static str {
        "mail"
    }

    fn name(&self) -> &'static str {
        "Mail"
    }

    fn options<'a>(&self, root: &'a Node) -> Option<&'a Node> {
        root.get(EXTRAS)?.get(self.key())
    }

    fn examine(&self, options: &Node, errors: &mut Vec<ConfigError>) {
        let mut invalid = |node: &Node, key: &str, message: String| {
            errors.push(ConfigError::Invalid {
                at: node.at.clone(),
                option: format!("fastness.mail.{key}"),
                message,
            });
        };
        let to = options.get("to").map(Node::elements).unwrap_or_default();
        let from = options.get("from").into_iter();
        let all = to.iter().map(|node| ("to", node));
        for (key, node) in all.chain(from.map(|node| ("from", node))) {
            let address = node.as_text().unwrap_or_default();
            if let Err(error) = mailbox(address) {
                invalid(node, key, format!("is no mail address: {error}"));
            }
        }
        if let Some(node) = options.get("to").filter(|node| node.elements().is_empty()) {
            invalid(node, "to", "names nobody".to_owned());
        }
        let port = options.get("port");
        let wrong = |node: &&Node| {
            node.as_integer()
                .is_some_and(|port| u16::try_from(port).is_err())
        };
        if let Some(node) = port.filter(wrong) {
            invalid(node, "port", "is no port from 1 to 65535".to_owned());
        }
        for key in ["port", "encryption", "verify_tls", "username", "password"] {
            if let Some(node) = options.get(key).filter(|_| options.get("server").is_none()) {
                invalid(node, key, "belongs to \"server\"".to_owned());
            }
        }
        for (key, other) in [("username", "password"), ("password", "username")] {
            if let Some(node) = options.get(key).filter(|_| options.get(other).is_none()) {
                invalid(node, key, format!("needs {other:?} beside it"));
            }
        }
        if let Some(node) = options.get("sendmail_command") {
            if options.get("server").is_some() {
                invalid(
                    node,
                    "sendmail_command",
                    "is not used with \"server\"".to_owned(),
                );
            }
            let command = node.as_text().and_then(shlex::split);
            if command.is_none_or(|words| words.is_empty()) {
                let message = "is no command: empty, or a quote is not closed";
                invalid(node, "sendmail_command", message.to_owned());
            }
        }
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        let limit = options.get("logs_size_limit").and_then(Node::as_integer);
        let send_logs = options.get("send_logs").and_then(Node::as_boolean);
        let limit = limit.unwrap_or(LOG_BYTES);
        let tail = send_logs
            .unwrap_or(true)
            .then(|| Tail::begin(context.log, context.verbosity, limit));
        Box::new(Messages::new(options, tail))
    }
}

/// Sends a message of our own, by the options of a configuration.
///
/// # Errors
/// When it cannot be sent.
pub(super) fn post(
    options: &Node,
    context: &Context<'_>,
    [subject, body]: [String; 2],
) -> Result<(), PingError> {
    let messages = Messages::new(options, None);
    messages.send(messages.compose(subject, body)?, context)
}

fn way(options: &Node) -> Way {
    let Some(host) = text(options, "server") else {
        let command = text(options, "sendmail_command");
        return Way::Program(command.unwrap_or_else(|| "/usr/sbin/sendmail".to_owned()));
    };
    let encryption = match options.get("encryption").and_then(Node::as_text) {
        Some("tls") => Encryption::Tls,
        Some("none") => Encryption::Off,
        _ => Encryption::StartTls,
    };
    let port = options.get("port").and_then(Node::as_integer);
    Way::Server(Server {
        host,
        port: port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(match encryption {
                Encryption::Tls => 465,
                Encryption::StartTls => 587,
                Encryption::Off => 25,
            }),
        encryption,
        verify: options
            .get("verify_tls")
            .and_then(Node::as_boolean)
            .unwrap_or(true),
        username: text(options, "username"),
        password: text(options, "password"),
    })
}

fn mailbox(address: &str) -> Result<Mailbox, AddressError> {
    // A local name is delivered on this machine.
    match address.contains('@') {
        true => address.parse(),
        false => format!("{address}@{}", hostname()).parse(),
    }
}

fn refused(error: impl std::fmt::Display) -> PingError {
    PingError::Refused(error.to_string())
}

impl Messages {
    fn new(options: &Node, tail: Option<Tail>) -> Self {
        let to = options.get("to").map(Node::elements).unwrap_or_default();
        let to = to.iter().filter_map(Node::as_text);
        Self {
            from: text(options, "from"),
            to: to.map(str::to_owned).collect(),
            subjects: ["finish", "fail"].map(|state| text(options.get(state)?, "subject")),
            states: States::read(options, &["fail"]),
            way: way(options),
            tail,
        }
    }

    fn message(&self, state: State, context: &Context<'_>) -> Result<Message, PingError> {
        let host = hostname();
        let (outcome, [finish, fail]) = match state {
            State::Fail => ("failed", &self.subjects),
            _ => ("finished", &self.subjects),
        };
        let subject = if state == State::Fail { fail } else { finish };
        let file = context
            .path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let usual = || format!("Backup {outcome} on {host} ({file})");
        let mut body = format!(
            "The backup on {host} {outcome}.\nConfiguration: {}\n\n",
            context.path.display()
        );
        body.push_str(&context.account.borrow().to_string());
        if let Some(tail) = &self.tail {
            body.push_str("\nThe log:\n\n");
            body.push_str(&tail.text());
        }
        self.compose(subject.clone().unwrap_or_else(usual), body)
    }

    fn compose(&self, subject: String, body: String) -> Result<Message, PingError> {
        let from = self.from.as_deref().unwrap_or("root");
        let sender = HeaderName::new_from_ascii_str("Auto-Submitted");
        let mut builder = Message::builder()
            .from(mailbox(from).map_err(refused)?)
            .subject(subject)
            .raw_header(HeaderValue::new(sender, "auto-generated".to_owned()))
            .message_id(None)
            .header(ContentType::TEXT_PLAIN);
        for address in &self.to {
            builder = builder.to(mailbox(address).map_err(refused)?);
        }
        builder.body(body).map_err(refused)
    }

    fn send(&self, message: Message, context: &Context<'_>) -> Result<(), PingError> {
        match &self.way {
            Way::Program(command) => hand_over(command, &message, context),
            Way::Server(server) => server.send(message, context),
        }
    }
}

impl Monitor for Messages {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if !matches!(state, State::Finish | State::Fail) || !self.states.contain(state) {
            return Ok(());
        }
        context.note(&format!("Mailing {state} to {}", self.to.join(", ")));
        let message = self.message(state, context)?;
        if context.dry_run {
            return Ok(());
        }
        self.send(message, context)
    }
}

impl Server {
    fn send(&self, message: Message, context: &Context<'_>) -> Result<(), PingError> {
        let secret = |value: &Option<String>| {
            let value = value.as_deref().map(|value| context.secret(value));
            value.transpose()
        };
        let login = secret(&self.username)?.zip(secret(&self.password)?);
        let mut builder = SmtpTransport::builder_dangerous(&self.host)
            .port(self.port)
            .timeout(Some(MAIL_LIMIT));
        if self.encryption != Encryption::Off {
            let tls = self.tls(context)?;
            builder = builder.tls(match self.encryption {
                Encryption::Tls => Tls::Wrapper(tls),
                Encryption::StartTls | Encryption::Off => Tls::Required(tls),
            });
        }
        if let Some((username, password)) = login {
            let (username, password) = (username.reveal(), password.reveal());
            builder =
                builder.credentials(Credentials::new(username.to_owned(), password.to_owned()));
        }
        let transport = builder.build();
        // Its time limit is for each step; a thread that takes longer for all is left alone.
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let sent = transport.send(&message).map(drop);
            // Nobody waits any more when it took too long.
            let _ = sender.send(sent);
        });
        match receiver.recv_timeout(MAIL_LIMIT) {
            Ok(sent) => sent.map_err(|error| refused(with_causes(&error))),
            Err(RecvTimeoutError::Timeout) => Err(late("the mail server")),
            Err(RecvTimeoutError::Disconnected) => Err(refused("the message was not sent")),
        }
    }

    fn tls(&self, context: &Context<'_>) -> Result<TlsParameters, PingError> {
        let mut tls: TlsParametersBuilder = TlsParameters::builder(self.host.clone())
            .certificate_store(CertificateStore::None)
            .dangerous_accept_invalid_certs(!self.verify)
            .dangerous_accept_invalid_hostnames(!self.verify);
        if self.verify {
            let path = context.net.trusted_file()?;
            let pem = std::fs::read(path);
            let pem = pem.map_err(|error| refused(format!("{}: {error}", path.display())))?;
            for certificate in certificates(&pem, path)? {
                tls = tls.add_root_certificate(certificate);
            }
        }
        tls.build().map_err(|error| refused(with_causes(&error)))
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<Certificate>, PingError> {
    let text = String::from_utf8_lossy(pem);
    let end = "-----END CERTIFICATE-----";
    let pieces = text
        .split_inclusive(end)
        .filter(|piece| piece.ends_with(end));
    let read = |piece: &str| Certificate::from_pem(piece.as_bytes());
    let all: Result<Vec<_>, _> = pieces.map(read).collect();
    all.map_err(|_| refused(format!("{} is not a PEM file", path.display())))
}

fn late(what: &str) -> PingError {
    refused(format!(
        "{what} was not done within {} seconds",
        MAIL_LIMIT.as_secs()
    ))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Gives a message to a program of this machine.
fn hand_over(command: &str, message: &Message, context: &Context<'_>) -> Result<(), PingError> {
    let words = shlex::split(command).unwrap_or_default();
    let (program, words) = words.split_first().ok_or_else(|| refused("no command"))?;
    let envelope = message.envelope();
    let from = envelope.from().map(ToString::to_string);
    let to = envelope.to().iter().map(ToString::to_string);
    // The passphrase of a repository is none of its business.
    let variables = context.variables.iter();
    let variables = variables.filter(|(name, _)| !name.as_encoded_bytes().starts_with(b"BORG_"));
    let mut child = Command::new(program)
        .args(words)
        .args(["-i", "-f", &from.unwrap_or_default(), "--"])
        .args(to)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| refused(format!("{program}: {error}")))?;
    let text = String::from_utf8_lossy(&message.formatted()).replace("\r\n", "\n");
    let (input, complaint) = (child.stdin.take(), child.stderr.take());
    // A program that does not read must not stop us, nor one that complains at length.
    std::thread::spawn(move || {
        let _ = input.map(|mut input| input.write_all(text.as_bytes()));
    });
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(mut complaint) = complaint {
            let _ = complaint
                .by_ref()
                .take(COMPLAINT_BYTES)
                .read_to_end(&mut said);
            let _ = sender.send(String::from_utf8_lossy(&said).trim().to_owned());
            let _ = std::io::copy(&mut complaint, &mut std::io::sink());
        }
    });
    let end = Instant::now() + MAIL_LIMIT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // It may be gone just now.
                let _ = child.kill();
                let _ = child.wait();
                return Err(late(program));
            }
            Err(error) => return Err(refused(error)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = receiver
        .recv_timeout(Duration::from_millis(500))
        .unwrap_or_default();
    Err(refused(format!("{program} ended with {status}: {said}")))
}
