//! Passphrases that are kept elsewhere, for us and for the real borgmatic alike.
//!
//! KeePassXC and 1Password are scripts that answer as their programs do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use fastness_testkit::Outcome;

use crate::borgmatic::Place;

const SECRET: &str = "words of the configuration";

/// A place whose configuration names the passphrase so, with more options.
fn place(credential: &str, options: &str) -> Place {
    let mut place = Place::new();
    let _ = place.fastness(&["repo-create"]).ok();
    let top = place.sandbox.root().to_str().unwrap().to_owned();
    let secrets = place.sandbox.directory("secrets");
    fs::write(secrets.join("borg"), format!("{SECRET}\n")).unwrap();
    place.sandbox.set_env("CREDENTIALS_DIRECTORY", &secrets);
    let hook = "commands: [{before: action, run: ['env > TOP/environment; tr \"\\0\" \" \" < /proc/$PPID/cmdline > TOP/arguments']}]\n";
    let config = place.sandbox.path("config.yaml");
    let text = fs::read_to_string(&config).unwrap();
    let passphrase = format!("encryption_passphrase: '{{credential {credential}}}'\n");
    let text = text.replace(&format!("encryption_passphrase: {SECRET}\n"), &passphrase);
    let text = (text + hook + options).replace("TOP", &top);
    fs::write(config, text).unwrap();
    place
}

/// Puts a script into the place that prints the secret when it is called with `words`.
fn script(place: &Place, name: &str, words: &str) {
    let path = place.sandbox.path(name);
    let words = words.replace("TOP", place.sandbox.root().to_str().unwrap());
    let text = format!(
        "#!/bin/sh\n[ \"$*\" = '{words}' ] || {{ echo \"$*\" >&2; exit 3; }}\necho '{SECRET}'\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Both programs find the repository's passphrase, and show it nowhere.
fn assert_found(place: &Place) {
    let check = |run: Outcome| {
        let told = run.out() + &run.err();
        assert!(!told.contains(SECRET), "{told}");
        for name in ["environment", "arguments"] {
            let text = fs::read_to_string(place.sandbox.path(name)).unwrap();
            assert!(text.len() > 10 && !text.contains(SECRET), "{name}: {text}");
        }
    };
    check(place.fastness(&["create", "--verbosity", "2"]).ok());
    check(place.borgmatic(&["create", "--verbosity", "2"]).ok());
}

#[test]
fn systemd_gives_a_passphrase() {
    assert_found(&place("systemd borg", ""));
}

#[test]
fn a_container_gives_a_passphrase() {
    assert_found(&place(
        "container borg",
        "container: {secrets_directory: TOP/secrets}\n",
    ));
}

#[test]
fn a_file_gives_a_passphrase() {
    assert_found(&place("file TOP/secrets/borg", ""));
}

#[test]
fn a_scripted_keepassxc_gives_a_passphrase() {
    let options = "keepassxc: {keepassxc_cli_command: TOP/keepassxc-cli, ask_for_password: false, key_file: TOP/key}\n";
    let place = place("keepassxc TOP/database.kdbx \"my entry\"", options);
    fs::write(place.sandbox.path("database.kdbx"), "").unwrap();
    let words = "show --show-protected --attributes Password --no-password --key-file TOP/key TOP/database.kdbx my entry";
    script(&place, "keepassxc-cli", words);
    assert_found(&place);
}

#[test]
fn a_scripted_1password_gives_a_passphrase() {
    let place = place(
        "onepassword op://vault/borg/password",
        "onepassword: {op_command: TOP/op}\n",
    );
    script(&place, "op", "read --no-newline op://vault/borg/password");
    assert_found(&place);
}

#[test]
fn a_credential_that_is_not_there_ends_the_run_by_its_name() {
    let place = place(
        "container elsewhere",
        "container: {secrets_directory: TOP/secrets}\n",
    );
    for run in [place.fastness(&["create"]), place.borgmatic(&["create"])] {
        let told = run.exits(1).err();
        assert!(told.contains("secrets/elsewhere"), "{told}");
    }
}
