//! `{credential keepassxc DATABASE ENTRY}`: the password of an entry of a KeePassXC database, by its
//! command line or, with `secret-service` for the database, from the program that runs.

use super::{Context, CredentialError, Provider};

/// KeePassXC.
pub(super) struct KeePassXc;

impl Provider for KeePassXc {
    fn name(&self) -> &'static str {
        "keepassxc"
    }

    fn load(&self, words: &[String], context: &Context<'_>) -> Result<String, CredentialError> {
        let [database, entry] = words else {
            return Err(CredentialError::Name {
                name: words.join(" "),
            });
        };
        let settings = context.settings;
        if database == "secret-service" {
            let program = settings.secret_tool_command.as_deref();
            return context.run(program.unwrap_or("secret-tool"), &["lookup", "Path", entry]);
        }
        let path = context.expanded(database);
        if let Err(source) = std::fs::metadata(&path) {
            return Err(CredentialError::File { path, source });
        }
        let mut words = vec!["show", "--show-protected", "--attributes", "Password"];
        if !settings.ask_for_password {
            words.push("--no-password");
        }
        for (flag, value) in [
            ("--key-file", &settings.key_file),
            ("--yubikey", &settings.yubikey),
        ] {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                words.extend([flag, value]);
            }
        }
        let path = path.to_string_lossy();
        words.extend([&path, entry.as_str()]);
        let program = settings.keepassxc_cli_command.as_deref();
        context.run(program.unwrap_or("keepassxc-cli"), &words)
    }
}
