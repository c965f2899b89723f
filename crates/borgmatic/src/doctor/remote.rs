//! Checks of the way to a repository on another machine.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fastness_format::location::{Host, Location};

use super::files::in_path;
use super::{Patient, Said, ok, problem, warning};
use crate::run::direct::{Opened, Question, ask};

/// Seconds until a connection must be there.
const CONNECT: u32 = 15;
/// How long a command on the other machine may take.
const LIMIT: Duration = Duration::from_secs(25);
/// The most that is read of what ssh says.
const MOST: u64 = 1 << 16;
/// The oldest version of Borg without known holes that matter to a server or its clients.
const SAFE: [u32; 3] = [1, 2, 5];

/// Whether a repository can be reached without anybody in front of the terminal.
pub fn reachable(patient: &mut Patient<'_>) -> Vec<Said> {
    if let Some(path) = patient.local() {
        patient.reachable = path.is_dir();
        return match patient.reachable {
            true => vec![ok(format!("{} is there", path.display()))],
            false => vec![problem(
                format!("{} is not there", path.display()),
                "mount its disk, or make it: fastness repo-create --encryption repokey-blake2",
            )],
        };
    }
    let said = try_ssh(patient);
    patient.reachable = said.0 == super::Verdict::Ok;
    vec![said]
}

fn try_ssh(patient: &Patient<'_>) -> Said {
    let path = &patient.repository.path;
    let Some((host, port)) = host_of(path) else {
        return problem(
            format!("{path} is no address"),
            "write ssh://user@host/./path",
        );
    };
    let rsh = patient
        .setting("BORG_RSH")
        .unwrap_or_else(|| "ssh".to_owned());
    let Some((program, arguments)) = shlex::split(&rsh).and_then(|words| {
        let (program, arguments) = words.split_first()?;
        Some((program.clone(), arguments.to_vec()))
    }) else {
        return problem(format!("ssh_command {rsh:?} is no command"), "correct it");
    };
    if !program.contains('/') && !in_path(&program, patient.world) {
        let text = format!("{program} is not installed");
        return problem(text, "apt install openssh-client");
    }
    let mut command = Command::new(&program);
    command.args(&arguments);
    if program == "ssh" || program.ends_with("/ssh") {
        // What the configuration says stands first and wins.
        command.args([
            "-o",
            "BatchMode=yes",
            "-o",
            &format!("ConnectTimeout={CONNECT}"),
        ]);
        command.args(["-o", "StrictHostKeyChecking=yes"]);
    }
    if let Some(port) = &port {
        command.args(["-p", port]);
    }
    let borg = patient
        .setting("BORG_REMOTE_PATH")
        .unwrap_or_else(|| "borg".to_owned());
    command.args([&host, &borg]).arg("--version");
    let begin = Instant::now();
    match finish(command) {
        Err(error) => problem(format!("{program}: {error}"), "correct ssh_command"),
        Ok(None) => problem(
            format!("{host} does not answer within {} seconds", LIMIT.as_secs()),
            "look at the network and at the server",
        ),
        Ok(Some((code, said))) => judge(&host, port.as_deref(), &borg, code, &said, begin),
    }
}

/// Makes of what ssh said what to do.
fn judge(
    host: &str,
    port: Option<&str>,
    borg: &str,
    code: i32,
    said: &str,
    begin: Instant,
) -> Said {
    let mut lines = said.lines().map(str::trim);
    let last = lines.rfind(|line| !line.is_empty());
    let last = last.unwrap_or("it said nothing").to_owned();
    let port = port.map(|port| format!("-p {port} ")).unwrap_or_default();
    let has = |text: &str| said.contains(text);
    match code {
        255 if has("REMOTE HOST IDENTIFICATION HAS CHANGED") => problem(
            format!("{host} shows another host key than it had"),
            "ask its owner why; only then remove the old one: ssh-keygen -R HOST",
        ),
        255 if has("Host key verification failed") => problem(
            format!("the host key of {host} is not known yet"),
            format!("connect once by hand and compare the fingerprint: ssh {port}{host}"),
        ),
        255 if has("Permission denied") => problem(
            format!("{host} does not let the ssh key in"),
            format!("put the public key there: ssh-copy-id {port}{host}"),
        ),
        255 => problem(
            format!("{host} cannot be reached: {last}"),
            "look at the address, the network and the server",
        ),
        126 | 127 => problem(
            format!("there is no {borg} on {host}: {last}"),
            "install borgbackup or Fastness there, or name the program with remote_path",
        ),
        _ => ok(format!(
            "{host} answers in batch mode, its host key is known ({:.1} s)",
            begin.elapsed().as_secs_f64()
        )),
    }
}

/// The user and host of an address, and its port.
fn host_of(path: &str) -> Option<(String, Option<String>)> {
    let location = Location::parse(path.as_bytes(), None).ok()?;
    match location.host {
        Host::Ssh { user, host, port } => {
            let user = user.map(|user| format!("{user}@")).unwrap_or_default();
            let host = host.trim_matches(['[', ']']).to_owned();
            Some((format!("{user}{host}"), port.map(|port| port.to_string())))
        }
        _ => None,
    }
}

/// Runs a command to its end, or kills it when that takes too long. Returns its exit code and what
/// it said.
fn finish(mut command: Command) -> std::io::Result<Option<(i32, String)>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let stderr = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            // What came before an error is said all the same.
            let _ = stderr.take(MOST).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    });
    let code = wait(&mut child)?;
    let Some(code) = code else {
        return Ok(None);
    };
    Ok(Some((code, reader.join().unwrap_or_default())))
}

fn wait(child: &mut Child) -> std::io::Result<Option<i32>> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(255)));
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Which version serves a repository on another machine.
pub fn version(patient: &mut Patient<'_>) -> Vec<Said> {
    if patient.local().is_some() || !patient.reachable {
        return Vec::new();
    }
    let question = Question {
        repository: patient.repository,
        words: vec!["version".to_owned(), patient.repository.path.clone()],
        opened: Opened::ByPerson,
        by_engine: true,
        shown: false,
        directory: None,
        at_most: None,
    };
    let answer = match ask(&question, patient.world) {
        Ok(answer) if answer.code == 0 => answer,
        Ok(answer) => {
            patient.reachable = false;
            let cure = match answer.code {
                13 | 15 => "make it: fastness repo-create --encryption repokey-blake2",
                _ => "see what the server allows: its authorized_keys and its borg serve",
            };
            return vec![problem(answer.last_line(), cure)];
        }
        Err(error) => return vec![problem(error, "see the message")],
    };
    let text = String::from_utf8_lossy(&answer.data).into_owned();
    let server = text.trim().rsplit(" / ").next().unwrap_or_default();
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(server.split('.')) {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        *number = digits.parse().unwrap_or(0);
    }
    match numbers < SAFE {
        true => vec![warning(
            format!("the server has Borg {server}, which has known security holes"),
            "install a newer one there: 1.2.5 or later, best 1.4",
        )],
        false => vec![ok(format!("the server speaks Borg {server}"))],
    }
}
