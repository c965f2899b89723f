//! Units as text.

use super::*;
use crate::config::LoadContext;
use crate::config::load::load_text;

fn configuration(path: &str, text: &str) -> Configuration {
    let text = format!("source_directories: [/x]\nrepositories: [{{path: /r}}]\n{text}");
    let context = LoadContext {
        variable: &|_| None,
        interpolate_environment: false,
        overrides: &[],
    };
    let tree = load_text(&text, path).unwrap();
    Configuration::from_tree(vec![path.into()], tree, context).unwrap()
}

fn surroundings() -> Surroundings {
    Surroundings {
        program: "/usr/bin/fastness".into(),
        user: false,
        writable: vec!["/r".into(), "/var/100% sure".into()],
        variables: vec![("HOME".to_owned(), "/root".to_owned())],
        credentials: Vec::new(),
    }
}

fn rendered(configuration: &Configuration, surroundings: &Surroundings) -> Vec<Unit> {
    units(configuration, &Schedule::of(configuration), surroundings)
}

#[test]
fn a_job_becomes_a_service_and_a_timer() {
    let configuration = configuration("/etc/borgmatic/config.yaml", "keep_daily: 7\n");
    let units = rendered(&configuration, &surroundings());
    let names: Vec<&str> = units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "fastness-config-create.service",
            "fastness-config-create.timer",
            "fastness-config-check.service",
            "fastness-config-check.timer",
        ]
    );
    insta::assert_snapshot!(units[1].text, @r"
    # Made by fastness timer install for /etc/borgmatic/config.yaml

    [Unit]
    Description=Time for: fastness create, prune, compact (/etc/borgmatic/config.yaml)

    [Timer]
    OnCalendar=00/6:00
    RandomizedDelaySec=1800s
    Persistent=true

    [Install]
    WantedBy=timers.target
    ");
    let service = &units[0].text;
    for line in [
        "ExecStart=/usr/bin/fastness --config /etc/borgmatic/config.yaml --verbosity -2 --syslog-verbosity 1 create prune compact",
        "Environment=HOME=/root",
        "ProtectSystem=strict",
        "ReadWritePaths=-/r",
        "ReadWritePaths=\"-/var/100%% sure\"",
    ] {
        assert!(service.lines().any(|one| one == line), "{line}: {service}");
    }
    assert!(!service.contains("network-online"));
}

#[test]
fn strange_paths_stay_what_they_are() {
    let path = "/srv/a \"b\" $c 100%/d.yaml";
    let configuration = configuration(path, "");
    let units = rendered(&configuration, &surroundings());
    let expected = r#"--config "/srv/a \"b\" $$c 100%%/d.yaml" --verbosity"#;
    assert!(units[0].text.contains(expected), "{}", units[0].text);
    assert_eq!(
        stem(Path::new("/srv/my config@home.yaml")),
        "my_config_home"
    );
}

#[test]
fn what_the_configuration_starts_decides_how_far_it_is_confined() {
    let grade = |text: &str| confinement(&configuration("/c.yaml", text), &surroundings());
    for (text, expected) in [
        ("", Confinement::Tight),
        (
            "encryption_passcommand: cat /etc/passphrase\n",
            Confinement::Tight,
        ),
        ("ssh_command: ssh -i /etc/key\n", Confinement::Tight),
        (
            "fastness: {mail: {to: [root], server: mail.example.org}}\n",
            Confinement::Tight,
        ),
        (
            "sqlite_databases: [{name: a, path: /a.db}]\n",
            Confinement::Tight,
        ),
        (
            "encryption_passcommand: pass show backup\n",
            Confinement::Commands,
        ),
        (
            "encryption_passphrase: '{credential keepassxc /a.kdbx b}'\n",
            Confinement::Commands,
        ),
        (
            "commands: [{before: action, run: [date]}]\n",
            Confinement::Commands,
        ),
        ("fastness: {mail: {to: [root]}}\n", Confinement::Commands),
        (
            "postgresql_databases: [{name: a, pg_dump_command: sudo -u postgres pg_dump}]\n",
            Confinement::Commands,
        ),
        (
            "postgresql_databases: [{name: a, container: db}]\n",
            Confinement::Commands,
        ),
        ("btrfs:\n", Confinement::Snapshots),
    ] {
        assert_eq!(grade(text), expected, "{text}");
    }
    let user = Surroundings {
        user: true,
        ..surroundings()
    };
    let units = rendered(&configuration("/c.yaml", ""), &user);
    assert!(
        !units[0].text.contains("ReadWritePaths"),
        "{}",
        units[0].text
    );
}

#[test]
fn credentials_of_systemd_are_loaded_by_the_service() {
    let text = "\
encryption_passphrase: '{credential systemd backup-passphrase}'
fastness: {mail: {to: [root], server: a, username: b, password: '{credential systemd mail}'}}
";
    let configuration = configuration("/c.yaml", text);
    let names = credentials(&configuration.tree);
    assert_eq!(names, ["backup-passphrase", "mail"]);
    let surroundings = Surroundings {
        credentials: vec![
            (
                names[0].clone(),
                Some("/etc/credstore.encrypted/backup-passphrase".into()),
            ),
            (names[1].clone(), None),
        ],
        ..surroundings()
    };
    let service = &rendered(&configuration, &surroundings)[0].text;
    for line in [
        "LoadCredentialEncrypted=backup-passphrase:/etc/credstore.encrypted/backup-passphrase",
        "LoadCredential=mail",
    ] {
        assert!(service.lines().any(|one| one == line), "{line}: {service}");
    }
}
