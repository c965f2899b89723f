//! `fastness doctor`: tells people what the examination found.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use fastness_borgmatic::config::found::Found;
use fastness_borgmatic::doctor::{Finding, Verdict, examine};
use fastness_borgmatic::run::World;

use super::{ended, parsed};

/// Examine the backups of this machine, and say what to do
///
/// Looks at the configuration files, the sources, the free space, the way to each repository, its
/// passphrase, its locks, the age of its newest archive, and whether a copy of its key was proved.
/// Nothing is changed, and nothing waits for long.
///
/// Exit code: 0 when all is well, 1 with warnings, 2 with problems.
#[derive(Debug, Parser)]
#[command(name = "fastness doctor")]
struct Arguments {
    /// The configuration files or directories; otherwise those in the usual places
    #[arg(short, long, value_name = "PATH")]
    config: Vec<PathBuf>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

/// Examines, and ends with the verdict.
pub fn run(words: &[OsString]) -> ExitCode {
    let arguments = match parsed::<Arguments>(words) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let found = Found::of_process(&arguments.config);
    let world = World::of_process();
    let mut findings = complaints(&found);
    if !arguments.json {
        let _ = show(&findings);
    }
    for configuration in &found.configurations {
        let more = examine(configuration, &world);
        if !arguments.json {
            // A reader that left wants no more of it.
            let _ = show(&more);
        }
        findings.extend(more);
    }
    let verdict = findings.iter().map(|finding| finding.verdict).max();
    let verdict = verdict.unwrap_or(Verdict::Ok);
    let told = match arguments.json {
        true => print_json(&findings, verdict),
        false => summary(&findings),
    };
    if let Err(error) = told {
        return ended(Err(format!("stdout: {error}")));
    }
    ExitCode::from(match verdict {
        Verdict::Ok => 0,
        Verdict::Warning => 1,
        Verdict::Problem => 2,
    })
}

/// Files that cannot be used are findings, too.
fn complaints(found: &Found) -> Vec<Finding> {
    let finding = |about: String, text: String, cure: &str| Finding {
        about,
        check: "configuration",
        verdict: Verdict::Problem,
        text,
        cure: Some(cure.to_owned()),
    };
    if found.configurations.is_empty() && found.errors.is_empty() {
        let about = "configuration".to_owned();
        let text = "there is none in the usual places".to_owned();
        return vec![finding(about, text, "make one: fastness setup")];
    }
    let errors = found.errors.iter().flat_map(|(path, errors)| {
        let lines: Vec<String> = errors.to_string().lines().map(str::to_owned).collect();
        let path = path.display().to_string();
        lines.into_iter().map(move |line| (path.clone(), line))
    });
    let cure = "correct it; fastness config validate tells when it is right";
    errors
        .map(|(path, line)| finding(path, line, cure))
        .collect()
}

fn show(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout();
    let color = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut about = "";
    for finding in findings {
        if finding.about != about {
            about = &finding.about;
            writeln!(out, "{about}")?;
        }
        let (name, paint) = match finding.verdict {
            Verdict::Ok => ("ok", "\x1b[32m"),
            Verdict::Warning => ("warning", "\x1b[33m"),
            Verdict::Problem => ("problem", "\x1b[31m"),
        };
        let (paint, plain) = if color { (paint, "\x1b[0m") } else { ("", "") };
        writeln!(
            out,
            "  {paint}{name:7}{plain}  {:13}  {}",
            finding.check, finding.text
        )?;
        if let Some(cure) = &finding.cure {
            writeln!(out, "{:26}-> {cure}", "")?;
        }
    }
    out.flush()
}

fn summary(findings: &[Finding]) -> io::Result<()> {
    let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
    let told = |number: usize, name: &str| match number {
        1 => format!("1 {name}"),
        number => format!("{number} {name}s"),
    };
    let text = match (count(Verdict::Problem), count(Verdict::Warning)) {
        (0, 0) => "All is well.".to_owned(),
        (0, warnings) => told(warnings, "warning"),
        (problems, 0) => told(problems, "problem"),
        (problems, warnings) => {
            format!(
                "{}, {}",
                told(problems, "problem"),
                told(warnings, "warning")
            )
        }
    };
    writeln!(io::stdout(), "{text}")
}

fn print_json(findings: &[Finding], verdict: Verdict) -> io::Result<()> {
    let document = serde_json::json!({ "verdict": verdict, "findings": findings });
    writeln!(io::stdout(), "{document:#}")
}
