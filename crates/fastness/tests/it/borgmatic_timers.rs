//! Units for systemd, and the summary that one of them sends. systemd's own tools examine them;
//! no systemd runs here.

use std::fs;
use std::path::Path;
use std::process::Command;

use fastness_testkit::{Authority, Outcome, SmtpKind, SmtpRecorder};

use crate::borgmatic::Place;

/// Calls a command of the program that has words of its own.
fn call(place: &Place, words: &[&str]) -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_fastness"));
    place.sandbox.run_of(program).args(words).go()
}

fn timer(place: &Place, words: &[&str]) -> Outcome {
    let config = place.sandbox.path("config.yaml");
    let units = place.sandbox.path("units");
    let own = [
        "--config",
        config.to_str().unwrap(),
        "--directory",
        units.to_str().unwrap(),
    ];
    call(place, &[&["timer"], words, &own].concat())
}

fn analyze(words: &[&str]) -> String {
    let run = Command::new("systemd-analyze")
        .args(words)
        .env("TZ", "UTC")
        .output();
    let run = run.expect("systemd-analyze is missing: run scripts/setup");
    assert!(run.status.success(), "{run:?}");
    String::from_utf8(run.stdout).unwrap()
}

fn extras(place: &Place, text: &str) {
    fs::write(place.sandbox.path("config.yaml.fastness"), text).unwrap();
}

#[test]
fn units_pass_systemds_examination_and_leave_nothing_behind() {
    let place = Place::new();
    let told = timer(&place, &["install", "--enable"]).ok().out();
    for part in [
        "units/fastness-config-create.timer\n",
        "units/fastness-config-check.service\n",
        "fastness-config-create.service: systemd's exposure level ",
        "systemctl enable --now fastness-config-create.timer fastness-config-check.timer",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let units = place.sandbox.path("units");
    let service = units.join("fastness-config-create.service");
    let timer_file = units.join("fastness-config-create.timer");
    let _ = analyze(&[
        "verify",
        "--man=no",
        "--recursive-errors=no",
        timer_file.to_str().unwrap(),
        service.to_str().unwrap(),
    ]);
    let level = analyze(&[
        "security",
        "--offline=yes",
        "--no-pager",
        service.to_str().unwrap(),
    ]);
    let level = level.lines().find(|line| line.contains("Overall")).unwrap();
    let level = level
        .rsplit(": ")
        .next()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(level.parse::<f64>().unwrap() < 4.0, "{level}");
    let text = fs::read_to_string(&timer_file).unwrap();
    let when = text
        .lines()
        .find_map(|line| line.strip_prefix("OnCalendar="));
    let elapses = analyze(&["calendar", "--iterations=4", when.unwrap()]);
    for hour in ["00:00:00", "06:00:00", "12:00:00", "18:00:00"] {
        assert!(elapses.contains(hour), "{hour}: {elapses}");
    }
    let listed = timer(&place, &["list"]).ok().out();
    assert!(
        listed.contains("00/6:00") && listed.contains(":00:00  no"),
        "{listed}"
    );
    fs::write(units.join("other.timer"), "# not ours\n").unwrap();
    let _ = timer(&place, &["remove"]).ok();
    let left = fs::read_dir(&units).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn every_grade_of_confinement_passes_systemds_examination() {
    let place = Place::new();
    let config = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    for extra in [
        "commands: [{before: action, when: [create], run: [date]}]\n",
        "btrfs:\n",
        "log_file: /var/log/100% \"odd\" $name.log\n",
    ] {
        fs::write(&config, format!("{text}{extra}")).unwrap();
        let told = timer(&place, &["install"]).ok();
        assert!(told.out().contains("exposure level"), "{extra}: {told}");
        let told = timer(&place, &["install", "--user"]).ok();
        assert!(told.out().contains("create.service"), "{extra}: {told}");
    }
}

#[test]
fn a_new_schedule_replaces_the_old_units_and_strange_files_stay() {
    let place = Place::new();
    extras(
        &place,
        "schedule: {create: 'Mon..Fri 12:30', prune: weekly, check: 'off', random_delay: '0'}\n",
    );
    let _ = timer(&place, &["install"]).ok();
    let units = place.sandbox.path("units");
    let text = fs::read_to_string(units.join("fastness-config-create.timer")).unwrap();
    assert!(
        text.contains("OnCalendar=Mon..Fri 12:30\nPersistent=true"),
        "{text}"
    );
    let service = fs::read_to_string(units.join("fastness-config-create.service")).unwrap();
    assert!(service.contains(" create compact\n"), "{service}");
    assert!(units.join("fastness-config-prune.timer").exists());
    extras(&place, "schedule: {create: hourly, catch_up: false}\n");
    let told = timer(&place, &["install"]).ok().out();
    assert!(told.contains("removed "), "{told}");
    assert!(!units.join("fastness-config-prune.timer").exists());
    fs::write(units.join("fastness-config-create.timer"), "[Timer]\n").unwrap();
    let said = timer(&place, &["install"]).exits(2).err();
    assert!(said.contains("was not made by this program"), "{said}");
    extras(&place, "schedule: {create: sometimes}\n");
    let said = timer(&place, &["install"]).exits(2).err();
    assert!(
        said.contains("config.yaml.fastness:1") && said.contains("sometimes"),
        "{said}"
    );
}

#[test]
fn our_calendar_elapses_when_systemds_does() {
    for text in [
        "00/6:00",
        "daily",
        "weekly",
        "monthly",
        "quarterly",
        "semiannually",
        "yearly",
        "hourly",
        "Mon..Fri 03:30",
        "Sat,Sun *:0/20:30",
        "*-02-29 12:00",
        "01..03-01/10 05:00",
        "*-*-1,15 22:00:05",
        "Sun *-*-01..07 04:00",
        "2027..2030-06-05 1,13:00",
    ] {
        let base = "2026-11-23 11:20:17 UTC";
        let told = analyze(&[
            "calendar",
            "--iterations=3",
            &format!("--base-time={base}"),
            &format!("{text} UTC"),
        ]);
        let theirs: Vec<String> = told
            .lines()
            .filter(|line| line.contains("Next elapse") || line.contains("Iter. #"))
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                words[words.len() - 3..words.len() - 1].join("T") + "Z"
            })
            .collect();
        assert!(!theirs.is_empty(), "{told}");
        let calendar: fastness_borgmatic::timers::calendar::Calendar =
            format!("{text} UTC").parse().unwrap();
        let mut time = "2026-11-23T11:20:17Z".parse().unwrap();
        for expected in theirs {
            time = calendar.next_after(time, &jiff::tz::TimeZone::UTC).unwrap();
            assert_eq!(time.to_string(), expected, "{text}: {told}");
        }
    }
}

#[test]
fn a_summary_is_mailed_by_the_timer_that_was_asked_for() {
    let mut place = Place::new();
    let authority = Authority::new(&["localhost"]);
    let recorder = SmtpRecorder::start(SmtpKind::StartTls, &authority);
    place
        .sandbox
        .set_env("SSL_CERT_FILE", authority.certificate());
    let port = recorder.port();
    extras(
        &place,
        &format!(
            "mail: {{to: [admin@example.org], from: a@example.org, server: localhost, port: {port}, digest: daily}}\n"
        ),
    );
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    let _ = place
        .fastness(&["create", "--source-directories", "[/not/there]"])
        .exits(1);
    let _ = recorder.take();
    let _ = timer(&place, &["install"]).ok();
    let units = place.sandbox.path("units");
    let service = fs::read_to_string(units.join("fastness-config-digest.service")).unwrap();
    let config = place.sandbox.path("config.yaml");
    let command = format!(" digest --config {}\n", config.display());
    assert!(service.contains(&command), "{service}");
    let _ = call(&place, &["digest", "--config", config.to_str().unwrap()]).ok();
    let mails = recorder.take();
    let [mail] = mails.as_slice() else {
        panic!("{}", mails.len());
    };
    assert!(mail.encrypted);
    let text = mail.text.replace("=\r\n", "").replace("\r\n", "\n");
    for part in [
        "Subject: Backups on ",
        "1 of 1 FAILED",
        "runs        2, 1 went well",
        "saved       1 archive,",
        "/not/there",
        "fastness key confirm",
        "To look closer:\n    fastness status --config ",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    drop(recorder);
    let said = call(&place, &["digest", "--config", config.to_str().unwrap()]).exits(2);
    assert!(said.err().contains("the summary was not sent"), "{said}");
    extras(&place, "mail: {to: [root]}\n");
    let said = call(&place, &["digest", "--config", config.to_str().unwrap()]).exits(2);
    assert!(said.err().contains("digest: daily"), "{said}");
}
