//! Credentials from every place, by files and by scripts that stand for the programs.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Place {
    directory: tempfile::TempDir,
    settings: CredentialSettings,
    variables: BTreeMap<OsString, OsString>,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("secret"), "two words\n\n").unwrap();
        let settings = CredentialSettings {
            working_directory: Some(directory.path().to_str().unwrap().to_owned()),
            secrets_directory: Some(".".to_owned()),
            ask_for_password: true,
            ..CredentialSettings::default()
        };
        let variables = std::env::vars_os().filter(|(name, _)| name == "PATH");
        Self {
            settings,
            variables: variables.collect(),
            directory,
        }
    }

    /// A program that tells how it was called.
    fn program(&self) -> String {
        let path = self.directory.path().join("program");
        std::fs::write(&path, "#!/bin/sh\necho \"called with: $*\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn load(&self, value: &str) -> String {
        let loaded = Credentials::default().resolve(value, &self.settings, &self.variables);
        let text = match loaded {
            Ok(secret) => secret.reveal().to_owned(),
            Err(error) => error.to_string(),
        };
        text.replace(self.directory.path().to_str().unwrap(), "TOP")
    }
}

#[test]
fn files_hold_secrets_without_their_line_end() {
    let mut place = Place::new();
    assert_eq!(place.load("{credential file secret}"), "two words");
    assert_eq!(place.load("{credential container secret}"), "two words");
    let top = place.directory.path().as_os_str().to_owned();
    place.variables.insert("CREDENTIALS_DIRECTORY".into(), top);
    assert_eq!(place.load("{credential systemd secret}"), "two words");
    assert_eq!(place.load("no credential"), "no credential");
    assert_eq!(place.load("{hostname}"), "{hostname}");
    assert!(
        place
            .load("{credential file nowhere}")
            .starts_with("Cannot load credential file TOP/nowhere: ")
    );
}

#[test]
fn programs_are_called_as_borgmatic_calls_them() {
    let mut place = Place::new();
    let program = Some(place.program());
    place.settings.systemd_creds_command = program.clone();
    place.settings.keepassxc_cli_command = program.clone();
    place.settings.secret_tool_command = program.clone();
    place.settings.op_command = program;
    place.settings.key_file = Some("/key".to_owned());
    for (value, words) in [
        ("systemd pw", "decrypt /etc/credstore.encrypted/pw"),
        (
            "keepassxc TOP/secret 'an entry'",
            "show --show-protected --attributes Password --key-file /key TOP/secret an entry",
        ),
        ("keepassxc secret-service entry", "lookup Path entry"),
        ("onepassword op://a/b/c", "read --no-newline op://a/b/c"),
    ] {
        let top = place.directory.path().to_str().unwrap();
        let value = format!("{{credential {}}}", value.replace("TOP", top));
        assert_eq!(place.load(&value), format!("called with: {words}"));
    }
}

#[test]
fn what_names_no_credential_is_refused() {
    let place = Place::new();
    for value in [
        "{credential}",
        "{credential file}",
        "{credential nothing x}",
        "{credential container a/b}",
        "{credential systemd ../x}",
        "{credential onepassword x}",
        "{credential keepassxc one}",
        "{credential file a b}",
    ] {
        assert!(place.load(value).starts_with("Cannot load"), "{value}");
    }
}

#[test]
fn a_credential_is_loaded_once() {
    let place = Place::new();
    let credentials = Credentials::default();
    let load = || {
        let value = "{credential file secret}";
        let loaded = credentials.resolve(value, &place.settings, &place.variables);
        loaded.unwrap().reveal().to_owned()
    };
    let first = load();
    std::fs::remove_file(place.directory.path().join("secret")).unwrap();
    assert_eq!(load(), first);
}
