//! Loki: lines of a log stream, with labels.
//!
//! Without `send_logs` each state is one line, sent at once. With it the log goes there while it is
//! written: a thread sends batches, so that a slow server does not slow the backup down. Lines wait
//! in a bounded queue; the end waits for them at most the time limit of a request.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::net::{Net, NetError, Request};
use super::{Context, Monitor, Node, PingError, Service, State, TIME_LIMIT, hostname, text};
use crate::config::error::ConfigError;
use crate::output::log::{Attachment, Entry, Level, Log, Sink};

/// Lines are sent when there are more of them.
const BATCH: usize = 100;

/// The most lines of one request.
const LARGEST_BATCH: usize = 5000;

/// The most bytes that wait to be sent; the oldest lines go then.
const WAITING_BYTES: usize = 16 << 20;

const FAILED: &str = "Failed to upload logs to Loki";

/// The service.
pub struct Loki;

/// Where lines go.
#[derive(Clone)]
struct Stream {
    url: String,
    labels: Map<String, Value>,
    /// Files with our certificate and its key.
    client: Option<(PathBuf, PathBuf)>,
}

/// Each state is sent at once.
struct AtOnce(Stream);

/// The log is sent as it grows.
struct Growing {
    queue: Arc<Queue>,
    sender: Option<JoinHandle<()>>,
    attachment: Option<Attachment>,
    dry_run: bool,
}

impl Service for Loki {
    fn key(&self) -> &'static str {
        "loki"
    }

    fn name(&self) -> &'static str {
        "Loki"
    }

    fn examine(&self, options: &Node, errors: &mut Vec<ConfigError>) {
        let Some(tls) = options.get("tls") else {
            return;
        };
        if tls.get("cert_path").is_some() != tls.get("key_path").is_some() {
            errors.push(ConfigError::Invalid {
                at: tls.at.clone(),
                option: "loki.tls".to_owned(),
                message: "needs both \"cert_path\" and \"key_path\", or neither".to_owned(),
            });
        }
    }

    fn begin(&self, options: &Node, context: &Context<'_>) -> Box<dyn Monitor> {
        let send_logs = options.get("send_logs").and_then(Node::as_boolean);
        let stream = stream(options, context);
        match send_logs {
            Some(true) => Box::new(Growing::begin(stream, context)),
            _ => Box::new(AtOnce(stream)),
        }
    }
}

fn stream(options: &Node, context: &Context<'_>) -> Stream {
    let path = |key| Some(PathBuf::from(text(options.get("tls")?, key)?));
    let labels = options.get("labels").map(Node::entries).unwrap_or_default();
    let label = |value: &str| match value {
        "__hostname" => hostname(),
        "__config" => context
            .path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        "__config_path" => context.path.to_string_lossy().into_owned(),
        value => value.to_owned(),
    };
    let labels = labels.iter().filter_map(|entry| {
        let value = entry.value.as_text()?;
        Some((entry.key.clone(), Value::String(label(value))))
    });
    let url = context.secret(&text(options, "url").unwrap_or_default());
    let url = url.map(|url| url.reveal().to_owned());
    Stream {
        url: url.unwrap_or_else(|error| {
            context.warn(&format!("Loki credential error: {error}"));
            String::new()
        }),
        labels: labels.collect(),
        client: path("cert_path").zip(path("key_path")),
    }
}

fn line(state: State) -> Option<&'static str> {
    match state {
        State::Start => Some("Started backup"),
        State::Finish => Some("Finished backup"),
        State::Fail => Some("Failed backup"),
        State::Log => None,
    }
}

fn nanoseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().to_string()
}

impl Stream {
    fn send(&self, lines: &[(String, String)], net: &Net, limit: Duration) -> Result<(), NetError> {
        let body = json!({ "streams": [{ "stream": self.labels, "values": lines }] });
        let mut request =
            Request::post(&self.url, body.to_string()).header("Content-Type", "application/json");
        let client = self.client.as_ref();
        request.client = client.map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        net.send(&request, limit).map(drop)
    }
}

impl Monitor for AtOnce {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        let Some(line) = line(state).filter(|_| !context.dry_run) else {
            return Ok(());
        };
        let lines = [(nanoseconds((context.now)()), line.to_owned())];
        let Self(stream) = self;
        if let Err(error) = stream.send(&lines, &context.net, TIME_LIMIT) {
            context.warn(&format!("{FAILED}: {error}"));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<(String, String)>,
    bytes: usize,
    /// Nothing more comes; what is here must be sent by then.
    end: Option<Instant>,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, time: String, line: String) {
        let mut waiting = self.lock();
        waiting.bytes += line.len();
        waiting.lines.push_back((time, line));
        while waiting.bytes > WAITING_BYTES
            && let Some((_, line)) = waiting.lines.pop_front()
        {
            waiting.bytes -= line.len();
        }
        if waiting.lines.len() > BATCH {
            self.changed.notify_one();
        }
    }

    /// Waits for a batch; `None` after the last. Returns the time it may take too.
    fn next(&self) -> Option<(Vec<(String, String)>, Duration)> {
        let mut waiting = self.lock();
        while waiting.lines.len() <= BATCH && waiting.end.is_none() {
            let woken = self.changed.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        let limit = match waiting.end {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => TIME_LIMIT,
        };
        let count = waiting.lines.len().min(LARGEST_BATCH);
        let lines: Vec<_> = waiting.lines.drain(..count).collect();
        waiting.bytes -= lines.iter().map(|(_, line)| line.len()).sum::<usize>();
        (!lines.is_empty()).then_some((lines, limit))
    }
}

/// Puts records into the queue.
struct Feeder(Arc<Queue>);

impl Sink for Feeder {
    fn take(&mut self, entry: &Entry<'_>) {
        let Self(queue) = self;
        queue.push(nanoseconds(SystemTime::now()), entry.text.to_owned());
    }
}

impl Growing {
    fn begin(stream: Stream, context: &Context<'_>) -> Self {
        let queue = Arc::<Queue>::default();
        let feeder = Box::new(Feeder(Arc::clone(&queue)));
        let sending = !context.dry_run;
        let (source, net, log) = (Arc::clone(&queue), context.net.clone(), context.log.clone());
        Self {
            sender: sending
                .then(|| std::thread::spawn(move || send_all(&source, &stream, &net, &log))),
            attachment: sending.then(|| context.log.attach(context.verbosity, feeder)),
            queue,
            dry_run: context.dry_run,
        }
    }
}

fn send_all(queue: &Queue, stream: &Stream, net: &Net, log: &Log) {
    let mut told = false;
    while let Some((lines, limit)) = queue.next() {
        // Nothing is left of the time: what waits is given up.
        let sent = match limit.is_zero() {
            true => Err(NetError::Late(TIME_LIMIT)),
            false => stream.send(&lines, net, limit),
        };
        if let Err(error) = sent
            && !std::mem::replace(&mut told, true)
        {
            log.record(Level::Warning, &format!("{FAILED}: {error}"));
        }
    }
}

impl Monitor for Growing {
    fn tell(&mut self, state: State, context: &Context<'_>) -> Result<(), PingError> {
        if let Some(line) = line(state).filter(|_| !self.dry_run) {
            self.queue
                .push(nanoseconds((context.now)()), line.to_owned());
        }
        Ok(())
    }

    fn end(&mut self, _context: &Context<'_>) {
        self.attachment = None;
        self.queue.lock().end = Some(Instant::now() + TIME_LIMIT);
        self.queue.changed.notify_one();
        // Each request of the thread has its limit, and so has the thread.
        if let Some(sender) = self.sender.take() {
            let _ = sender.join();
        }
    }
}
