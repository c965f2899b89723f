//! Messages by e-mail about a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use fastness_testkit::{Authority, SmtpKind, SmtpRecorder};

use crate::borgmatic::Place;

/// A place for runs that write to a mail server with these options beside its address.
fn place(kind: SmtpKind, options: &str) -> (Place, SmtpRecorder) {
    let authority = Authority::new(&["localhost"]);
    let recorder = SmtpRecorder::start(kind, &authority);
    let mut place = Place::new();
    let trusted = place.sandbox.path("trusted.pem");
    fs::copy(authority.certificate(), &trusted).unwrap();
    place.sandbox.set_env("SSL_CERT_FILE", trusted);
    fs::write(place.sandbox.path("password"), "mail secret\n").unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let port = recorder.port();
    let password = place.sandbox.path("password");
    let text = format!(
        "mail:\n    to: [admin@example.org, 'The Other <other@example.org>']\n    from: backup@example.org\n    server: localhost\n    port: {port}\n    username: me\n    password: '{{credential file {}}}'\n{options}",
        password.display()
    );
    // borgmatic does not read it.
    fs::write(place.sandbox.path("config.yaml.fastness"), text).unwrap();
    (place, recorder)
}

const FAILING: [&str; 3] = ["create", "--source-directories", "[/does/not/exist]"];

#[test]
fn a_failure_is_mailed_over_an_encrypted_connection_with_what_was_not_done() {
    for (kind, encryption) in [(SmtpKind::StartTls, "starttls"), (SmtpKind::Tls, "tls")] {
        let (place, recorder) = place(kind, &format!("    encryption: {encryption}\n"));
        let _ = place.fastness(&["create"]).ok();
        assert!(recorder.take().is_empty());
        let run = place
            .fastness(&[&FAILING[..], &["prune", "--verbosity", "2"]].concat())
            .exits(1);
        let told = run.out() + &run.err();
        let mails = recorder.take();
        let [mail] = mails.as_slice() else {
            panic!("{encryption}: {told}");
        };
        assert!(mail.encrypted);
        let commands = mail.commands.join("\n");
        for part in [
            "AUTH PLAIN",
            "<backup@example.org>",
            "<admin@example.org>",
            "<other@example.org>",
        ] {
            assert!(commands.contains(part), "{commands}");
        }
        let text = mail.text.replace("=\r\n", "").replace("\r\n", "\n");
        for part in [
            "Subject: Backup failed on ",
            "To: admin@example.org, \"The Other\" <other@example.org>",
            "Auto-Submitted: auto-generated",
            "\nDate: ",
            "\nMessage-ID: ",
            "create      FAILED",
            "prune       not done",
            "Source directories or root pattern paths do not exist: /does/not/exist",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!told.contains("mail secret"), "{told}");
    }
}

#[test]
fn a_server_that_nobody_vouches_for_gets_nothing() {
    let (mut place, recorder) = place(SmtpKind::StartTls, "");
    let stranger = Authority::new(&["localhost"]);
    place
        .sandbox
        .set_env("SSL_CERT_FILE", stranger.certificate());
    let told = place.fastness(&FAILING).exits(1).err();
    assert!(told.contains("Mail error: "), "{told}");
    assert!(recorder.take().is_empty());
}

#[test]
fn a_success_is_mailed_when_asked_for_with_its_own_subject() {
    let options = "    encryption: none\n    states: [finish]\n    finish: {subject: 'All is well \u{2713}'}\n    send_logs: false\n";
    let (place, recorder) = place(SmtpKind::Plain, options);
    let _ = place.fastness(&["create"]).ok();
    let mails = recorder.take();
    assert_eq!(mails.len(), 1);
    let text = &mails[0].text;
    assert!(
        !mails[0].encrypted && text.contains("Subject: All is well =?utf-8?b?"),
        "{text}"
    );
    assert!(
        text.contains("create      done") && !text.contains("The log:"),
        "{text}"
    );
    let _ = place.fastness(&FAILING).exits(1);
    assert!(recorder.take().is_empty());
}

#[test]
fn sendmail_gets_the_message_and_its_complaint_is_told() {
    let place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let top = place.sandbox.root().display();
    let script = place.sandbox.path("sendmail");
    let text = format!(
        "#!/bin/sh\necho \"$@\" > {top}/words\nenv > {top}/environment\ncat > {top}/mail\ntest ! -e {top}/broken || {{ echo no room >&2; exit 75; }}\n"
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let config = place.sandbox.path("config.yaml");
    let options = format!(
        "fastness:\n    mail: {{to: [root], from: backup, sendmail_command: '{} -x'}}\n",
        script.display()
    );
    let text = fs::read_to_string(&config).unwrap() + &options;
    fs::write(&config, text).unwrap();
    let _ = place.fastness(&FAILING).exits(1);
    let read = |name: &str| fs::read_to_string(place.sandbox.path(name)).unwrap();
    let words = read("words");
    assert!(
        words.starts_with("-x -i -f backup@") && words.contains(" -- root@"),
        "{words}"
    );
    let mail = read("mail");
    assert!(
        mail.contains("\nSubject: Backup failed on ") && !mail.contains('\r'),
        "{mail}"
    );
    assert!(!read("environment").contains("BORG_PASSPHRASE"));
    fs::write(place.sandbox.path("broken"), "").unwrap();
    let told = place.fastness(&FAILING).exits(1).err();
    assert!(told.contains("exit status: 75: no room"), "{told}");
}

#[test]
fn mail_options_that_make_no_sense_are_told_with_their_place() {
    let place = Place::new();
    let text = "mail: {to: ['not an address@'], port: 99, username: me}\n";
    fs::write(place.sandbox.path("config.yaml.fastness"), text).unwrap();
    let told = place.fastness(&["config", "validate"]).exits(1).err();
    for part in [
        "config.yaml.fastness:1: \"fastness.mail.to\": is no mail address",
        "\"fastness.mail.port\": belongs to \"server\"",
        "\"fastness.mail.username\": needs \"password\" beside it",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn a_mail_server_that_never_answers_delays_a_run_by_its_time_limit() {
    let (place, recorder) = place(SmtpKind::Silent, "    states: [finish]\n");
    let begin = Instant::now();
    let run = place.fastness(&["create"]).ok();
    assert!(
        begin.elapsed() < Duration::from_secs(45),
        "{:?}",
        begin.elapsed()
    );
    assert!(run.err().contains("Mail error: "), "{run}");
    assert!(recorder.take().is_empty());
}
