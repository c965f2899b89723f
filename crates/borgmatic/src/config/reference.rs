//! The reference of all options, written from their table.
//!
//! `docs/reference/configuration.md` is this text; a test keeps the two equal.

use std::fmt::Write;

use super::options::{options, repository};
use super::schema::{Kind, OptionSpec, Support};

const HEAD: &str = "\
# Configuration

Fastness reads the configuration of borgmatic 2.1: `/etc/borgmatic/config.yaml`, all `*.yaml` and `*.yml` files of
`/etc/borgmatic.d`, and the same below `~/.config`; or the files and directories named with `--config`. Each file is
one run of its own. `fastness config validate` tells whether they are right.

```yaml
source_directories:
    - /etc
    - /home
repositories:
    - path: /mnt/backup/server
      label: disk
      encryption: repokey-blake2
encryption_passcommand: cat /etc/borg/passphrase
exclude_patterns:
    - '*/.cache'
keep_daily: 7
keep_weekly: 4
checks:
    - name: repository
      frequency: 2 weeks
    - name: archives
      frequency: 1 month
```

Files are YAML 1.2: `yes` and `on` are text, a key stands only once. `{name}` stands for a value of `constants`, `${NAME}`
and `${NAME:-default}` for an environment variable. `key: !include file.yaml` takes a value from another file,
`<<: !include file.yaml` merges one in; `!retain` keeps a local value whole, `!omit` drops an element of a list.

Every option is also a flag: `--compression zstd,3`, `--no-atime`, `--source-directories '[/etc]'`,
`--repositories[0].label disk`. An option may stand in an entry of `repositories` and then holds for that repository alone.

`fastness config generate` writes a sample, `config show` prints what was understood, `config schema` prints a JSON Schema
for editors ([configuration.schema.json](configuration.schema.json)). What borgmatic does not have stands under `fastness:`,
or without that key in a file beside the configuration, `config.yaml.fastness`, which borgmatic does not read.

";

/// Writes the reference.
pub fn markdown() -> String {
    let mut out = HEAD.to_owned();
    section(&mut out, "Options", options());
    section(&mut out, "Entries of `repositories`", repository());
    for spec in options() {
        if let Kind::List(fields) | Kind::Fields(fields) = spec.kind
            && spec.support == Support::Works
        {
            section(&mut out, &format!("Fields of `{}`", spec.name), fields);
        }
    }
    out.push_str("## For Borg 2 only\n\nRepositories that only Borg 2 reaches (`rclone:`, `sftp://`, `s3:`, `b2:`) are refused. These options of borgmatic mean something to Borg 2 only; they have no effect, which is told as a warning: ");
    let borg2: Vec<String> = options()
        .iter()
        .chain(repository())
        .filter(|spec| spec.support == Support::Borg2)
        .map(|spec| format!("`{}`", spec.name))
        .collect();
    out.push_str(&borg2.join(", "));
    out.push_str(".\n");
    out
}

fn section(out: &mut String, title: &str, specs: &[OptionSpec]) {
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "## {title}\n\n| Option | Value | Meaning | Example |\n|---|---|---|---|\n"
    );
    for spec in specs.iter().filter(|spec| spec.support == Support::Works) {
        let needed = if spec.required { " (required)" } else { "" };
        let _ = writeln!(
            out,
            "| `{}`{needed} | {} | {} | `{}` |",
            spec.name,
            kind(spec.kind),
            spec.about,
            spec.example
        );
    }
    out.push('\n');
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Integer => "whole number".to_owned(),
        Kind::Level => "-2 to 2".to_owned(),
        Kind::Number => "number".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::TextOrInteger => "text or whole number".to_owned(),
        Kind::Choice(words) => words.join(", "),
        Kind::Statistics => "standard, quick, none".to_owned(),
        Kind::TextList => "list of texts".to_owned(),
        Kind::ChoiceList(_) => "list of names of actions".to_owned(),
        Kind::SwitchOrFields(_) => "true, false or mapping".to_owned(),
        Kind::Fields(_) | Kind::Map | Kind::TextMap => "mapping".to_owned(),
        Kind::List(_) | Kind::Repositories => "list of mappings".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_documentation_is_that_of_the_table() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/reference/configuration.md"
        );
        if std::env::var_os("UPDATE_REFERENCE").is_some() {
            std::fs::write(path, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap();
        assert_eq!(
            written,
            markdown(),
            "UPDATE_REFERENCE=1 cargo test writes it anew"
        );
    }

    #[test]
    fn the_example_of_the_reference_is_valid() {
        let (_, rest) = HEAD.split_once("```yaml\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let tree = super::super::load::load_text(example, "example").unwrap();
        assert_eq!(
            super::super::schema::validate(&tree, &mut Vec::new()).len(),
            0
        );
    }
}
