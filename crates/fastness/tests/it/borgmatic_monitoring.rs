//! What services are told about a run, beside what the real borgmatic tells them.

use std::fs;
use std::time::{Duration, Instant};

use fastness_testkit::{Authority, HttpRecorder, HttpRequest};
use serde_json::Value;

use crate::borgmatic::Place;

/// What a Zabbix server answers to a login; the others do not look at it.
const ANSWER: &str = r#"{"jsonrpc": "2.0", "result": "a-session", "id": 1}"#;

/// Servers whose address is no option, or that are named by an id.
const ELSEWHERE: [&str; 5] = [
    "api.pushover.net",
    "events.pagerduty.com",
    "hc-ping.com",
    "ntfy.sh",
    "watchgoose.com",
];

/// A place for runs whose services are all the same recorder.
struct Watched {
    place: Place,
    recorder: HttpRecorder,
}

impl Watched {
    /// Adds `options` to the configuration, in which URL is the recorder.
    fn new(options: &str) -> Watched {
        let authority = Authority::new(&ELSEWHERE);
        let recorder = HttpRecorder::start_as_proxy(ANSWER, &authority);
        let mut place = Place::new();
        place.sandbox.set_env("HTTPS_PROXY", recorder.url());
        let trusted = place.sandbox.path("trusted.pem");
        fs::copy(authority.certificate(), &trusted).unwrap();
        place.sandbox.set_env("REQUESTS_CA_BUNDLE", trusted);
        let _ = place.fastness(&["repo-create"]).ok();
        configure(&place, &options.replace("URL", &recorder.url()));
        Watched { place, recorder }
    }

    /// Returns what both programs send, of which the ways to say it were made equal.
    fn both(&self, arguments: &[&str], exit: i32) -> [Vec<HttpRequest>; 2] {
        let _ = self.place.borgmatic(arguments).exits(exit);
        let theirs = self.recorder.take();
        let _ = self.place.fastness(arguments).exits(exit);
        [self.recorder.take(), theirs].map(|requests| requests.into_iter().map(essence).collect())
    }

    fn assert_same(&self, arguments: &[&str], exit: i32) -> Vec<HttpRequest> {
        let [ours, theirs] = self.both(arguments, exit);
        assert!(!theirs.is_empty());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len(), "{ours:#?}\n{theirs:#?}");
        ours
    }
}

fn configure(place: &Place, options: &str) {
    let path = place.sandbox.path("config.yaml");
    let top = place.sandbox.root().to_str().unwrap();
    let text = fs::read_to_string(&path).unwrap() + &options.replace("TOP", top);
    fs::write(path, text).unwrap();
}

/// A request without what two runs or two libraries do differently.
fn essence(mut request: HttpRequest) -> HttpRequest {
    let matters = [
        "user-agent",
        "content-type",
        "authorization",
        "x-gotify-key",
    ];
    request
        .headers
        .retain(|name, _| matters.contains(&name.as_str()));
    if let Ok(mut body) = serde_json::from_str::<Value>(&request.body) {
        same_times(&mut body);
        request.body = body.to_string();
    } else if request.path == "/1/messages.json" {
        let mut fields: Vec<&str> = request.body.split('&').collect();
        fields.sort_unstable();
        request.body = fields.join("&");
    }
    request
}

/// Sorts the keys, and puts a word in the place of times.
fn same_times(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            for (key, value) in map.iter_mut() {
                match key.as_str() {
                    "timestamp" | "server time" => {
                        let time = value.as_str().unwrap();
                        assert_eq!((time.len(), &time[26..]), (32, "+00:00"), "{time}");
                        *value = "TIME".into();
                    }
                    "values" => {
                        let first = value.pointer_mut("/0/0").unwrap();
                        let time = first.as_str().unwrap();
                        assert!(time.len() == 19 && time.parse::<u64>().is_ok(), "{time}");
                        *first = "TIME".into();
                    }
                    _ => same_times(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(same_times),
        _ => {}
    }
}

/// All services with few options.
const PLAIN: &str = "
cronitor: {ping_url: URL/cronitor}
healthchecks: {ping_url: URL/healthchecks}
loki:
    url: URL/loki
    labels: {app: mine, config: __config, path: __config_path, host: __hostname}
ntfy: {topic: backups}
pagerduty: {integration_key: a-key}
pushover: {token: a-token, user: a-user}
sentry:
    data_source_name_url: RECORDER://a-key@ADDRESS/203069
    monitor_slug: nightly
uptime_kuma: {push_url: URL/kuma}
watchgoose: {ping_url: 'f1e2d3c4-0000-1111-2222-333344445555'}
zabbix: {server: URL/zabbix, itemid: 55105, username: me, password: words}
";

/// All services with many options.
const RICH: &str = "
cronitor: {ping_url: 'URL/cronitor/d3x0c1'}
healthchecks:
    ping_url: URL/ping/key/a-slug
    create_slug: true
    states: [start, finish, fail]
loki: {url: 'URL/loki', labels: {app: borgmatic}}
ntfy:
    topic: backups
    server: URL/ntfy
    access_token: '{credential file TOP/token}'
    start: {title: 'B\u{e4}ckup', message: It begins, priority: min, tags: 'clock1, rocket'}
    finish: {message: Done, priority: urgent}
    fail: {title: Oh no, message: It failed, priority: low, tags: skull}
    states: [start, finish, fail]
pagerduty: {integration_key: '{credential file TOP/token}'}
pushover:
    token: '{credential file TOP/token}'
    user: a-user
    start: {message: It begins & runs, priority: 2, device: pixel8, html: true, sound: bike, title: T, ttl: 10, url: 'https://example.org/?a=b', url_title: There}
    finish: {priority: -1}
    fail: {message: It failed, priority: 2, expire: 1200, retry: 60}
    states: [start, finish, fail]
sentry:
    data_source_name_url: RECORDER://a-key@ADDRESS/203069
    monitor_slug: nightly
    environment: my place/east
    states: [finish]
uptime_kuma: {push_url: URL/kuma, states: [start, fail]}
watchgoose: {ping_url: URL/goose, states: [log, fail]}
zabbix:
    server: URL/zabbix
    host: server
    key: backup.status
    api_key: '{credential file TOP/token}'
    start: {value: STARTED}
    finish: {value: 17}
    states: [start, finish, fail]
";

/// The data source name of Sentry holds the recorder's address in two pieces.
fn with_address(options: &str, recorder: &HttpRecorder) -> String {
    let url = recorder.url();
    let (scheme, address) = url.split_once("://").unwrap();
    options
        .replace("RECORDER", scheme)
        .replace("ADDRESS", address)
}

fn watched(options: &str) -> Watched {
    let watched = Watched::new("");
    fs::write(watched.place.sandbox.path("token"), "tk_secret\n").unwrap();
    let options = with_address(options, &watched.recorder);
    configure(
        &watched.place,
        &options.replace("URL", &watched.recorder.url()),
    );
    watched
}

#[test]
fn services_are_told_of_a_backup_as_by_borgmatic() {
    let watched = watched(PLAIN);
    let told = watched.assert_same(&["create"], 0);
    // start, log and finish: cronitor 2, healthchecks 3, loki 2, sentry 2, kuma 2, watchgoose 3.
    assert_eq!(told.len(), 14);
}

#[test]
fn services_are_told_of_a_failure_as_by_borgmatic() {
    let watched = watched(PLAIN);
    let told = watched.assert_same(&["create", "--source-directories", "[/does/not/exist]"], 1);
    let servers: Vec<&str> = told.iter().map(|request| request.server.as_str()).collect();
    for server in [
        "https://ntfy.sh",
        "https://events.pagerduty.com",
        "https://api.pushover.net",
    ] {
        assert!(servers.contains(&server), "{servers:?}");
    }
}

#[test]
fn options_of_services_mean_what_they_mean_to_borgmatic() {
    let watched = watched(RICH);
    let told = watched.assert_same(&["create"], 0);
    assert_eq!(told.len(), 2 + 2 + 2 + 2 + 2 + 1 + 1 + 1 + 2);
    let _ = watched.assert_same(&["create", "--source-directories", "[/does/not/exist]"], 1);
}

#[test]
fn nobody_is_told_of_other_actions_or_of_rehearsals() {
    let watched = watched(PLAIN);
    for arguments in [
        &["list"][..],
        &["--dry-run", "create"],
        &["create", "--monitoring-verbosity", "-2"],
    ] {
        let _ = watched.place.fastness(arguments).ok();
        assert_eq!(watched.recorder.take(), []);
    }
}

#[test]
fn logs_are_sent_as_much_as_fits() {
    let options = "
commands:
    - before: action
      run: ['echo the first line', 'seq 1 2000', 'echo the last line']
healthchecks: {ping_url: URL/healthchecks, send_logs: true, ping_body_limit: 600}
watchgoose: {ping_url: URL/goose, send_logs: true, ping_body_limit: 0, states: [log]}
loki: {url: URL/loki, labels: {app: borgmatic}, send_logs: true}
";
    let watched = watched(options);
    let _ = watched.place.fastness(&["create"]).ok();
    let told = watched.recorder.take();
    let bodies = |path: &str| {
        let asked = told.iter().filter(|request| request.path.starts_with(path));
        asked
            .map(|request| request.body.clone())
            .collect::<Vec<_>>()
    };
    let short = bodies("/healthchecks");
    assert_eq!(short[0], "");
    for body in &short[1..] {
        assert!(body.len() <= 600 && body.starts_with("...\n"), "{body}");
        assert!(body.contains("Creating archive"), "{body}");
    }
    let whole = &bodies("/goose")[0];
    assert!(whole.starts_with("Pinging "), "{whole}");
    for line in ["the first line\n", "\n1234\n", "the last line\n"] {
        assert!(whole.contains(line), "{line}");
    }
    let mut lines = Vec::new();
    for body in bodies("/loki") {
        let body: Value = serde_json::from_str(&body).unwrap();
        let values = body
            .pointer("/streams/0/values")
            .unwrap()
            .as_array()
            .unwrap();
        lines.extend(
            values
                .iter()
                .map(|value| value[1].as_str().unwrap().to_owned()),
        );
    }
    assert!(lines.len() > 2000, "{}", lines.len());
    for line in [
        "Started backup",
        "the first line",
        "1234",
        "the last line",
        "Finished backup",
    ] {
        assert_eq!(lines.iter().filter(|one| *one == line).count(), 1, "{line}");
    }
}

#[test]
fn a_service_that_refuses_or_is_gone_is_a_warning_and_no_secret_is_told() {
    let refusing = HttpRecorder::refusing("404 Not Found");
    let options = format!(
        "cronitor: {{ping_url: '{}/a-secret-place'}}\nhealthchecks: {{ping_url: 'http://127.0.0.1:1/a-secret-place'}}\nntfy: {{topic: t, server: '{}', access_token: '{{credential file TOP/nowhere}}', states: [finish]}}\n",
        refusing.url(),
        refusing.url(),
    );
    let watched = watched(&options);
    let run = watched.place.fastness(&["create", "--verbosity", "2"]).ok();
    let (out, err) = (run.out(), run.err());
    assert!(
        err.contains("Cronitor error: the server answered with status 404"),
        "{err}"
    );
    assert!(err.contains("Healthchecks error: "), "{err}");
    assert!(
        err.contains("ntfy credential error: Cannot load credential file"),
        "{err}"
    );
    assert!(!(out + &err).contains("a-secret-place"), "{err}");
}

#[test]
fn a_service_that_never_answers_delays_a_run_by_its_time_limit() {
    let silent = HttpRecorder::silent();
    let options = format!(
        "healthchecks: {{ping_url: '{}/x', states: [finish]}}\nloki: {{url: '{}', labels: {{a: b}}, send_logs: true}}\n",
        silent.url(),
        silent.url()
    );
    let watched = watched(&options);
    let begin = Instant::now();
    let run = watched.place.fastness(&["create", "--verbosity", "1"]).ok();
    let time = begin.elapsed();
    let err = run.err();
    assert!(
        err.contains("Healthchecks error: no answer within 10 seconds"),
        "{err}"
    );
    assert!(err.contains("Failed to upload logs to Loki"), "{err}");
    // Two requests of ten seconds each, and the backup itself.
    assert!(
        time > Duration::from_secs(19) && time < Duration::from_secs(45),
        "{time:?}"
    );
}

#[test]
fn what_a_service_cannot_do_is_refused_with_its_place() {
    let watched = watched(
        "pushover: {token: a, user: b, fail: {priority: 1, retry: 9}}\nloki: {url: URL, labels: {a: b}, tls: {cert_path: /x}}\n",
    );
    let run = watched.place.fastness(&["config", "validate"]).exits(1);
    let err = run.err();
    assert!(
        err.contains("config.yaml:") && err.contains("\"pushover.fail.retry\""),
        "{err}"
    );
    assert!(err.contains("\"loki.tls\": needs both"), "{err}");
}

#[test]
fn services_named_by_apprise_get_what_apprise_sends() {
    let watched = watched(
        "
apprise:
    services:
        - {url: 'ADDRESS/json', label: one}
        - {url: 'ADDRESS/deep/token?priority=high', label: two}
        - {url: 'ADDRESS/topic', label: three}
    states: [start, finish, log]
    start: {title: '  It begins ', body: \"A backup begins.\\n\\n\"}
    log: {body: No title}
",
    );
    let config = watched.place.sandbox.path("config.yaml");
    let mut text = fs::read_to_string(&config).unwrap();
    for schema in ["json://me:p%40ss@", "gotify://", "ntfy://"] {
        let address = watched.recorder.url().replace("http://", "");
        text = text.replacen(&format!("'{address}"), &format!("'{schema}{address}"), 1);
    }
    fs::write(config, text).unwrap();
    let [mut ours, mut theirs] = watched.both(&["create"], 0);
    for requests in [&mut ours, &mut theirs] {
        // The library speaks to all services at once.
        requests.sort_by_key(|request| (request.path.clone(), request.body.clone()));
        for request in requests.iter_mut() {
            request.path = request.path.trim_end_matches('/').to_owned();
        }
    }
    assert_eq!(ours.len(), 9, "{ours:#?}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len());
}
