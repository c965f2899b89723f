//! Expected values were taken from real Borg 1.4.5's own parser.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Location {
    Location::parse(text.as_bytes(), None).unwrap()
}

fn ssh_host(user: Option<&str>, host: &str, port: Option<u16>) -> Host {
    Host::Ssh {
        user: user.map(str::to_owned),
        host: host.to_owned(),
        port,
    }
}

/// Asserts host, path, archive and canonical form.
#[track_caller]
fn means(text: &str, host: Host, path: &str, archive: Option<&str>, canonical: &str) {
    let location = parse(text);
    assert_eq!(location.host, host);
    assert_eq!(String::from_utf8_lossy(&location.path), path);
    assert_eq!(location.archive.as_deref(), archive.map(str::as_bytes));
    let made = location.canonical(b"/cwd");
    assert_eq!(String::from_utf8_lossy(&made), canonical);
}

#[test]
fn local_paths() {
    let local = || Host::Local;
    means("/a/b::c", local(), "/a/b", Some("c"), "/a/b");
    means("a/./b//../d", local(), "a/d", None, "/cwd/a/d");
    means("./a:b::c:d", local(), "a:b", Some("c:d"), "/cwd/a:b");
    means("/a:b/c", local(), "/a:b/c", None, "/a:b/c");
    means("file:///a/b::c", local(), "/a/b", Some("c"), "/a/b");
    means("/", local(), "/", None, "/");
    means("repo::a::b", local(), "repo", Some("a::b"), "/cwd/repo");
}

#[test]
fn ssh_addresses() {
    let text = "ssh://user@host:2222/a/../b::c";
    let host = ssh_host(Some("user"), "host", Some(2222));
    means(text, host, "/b", Some("c"), "ssh://user@host:2222/b");
    let host = || ssh_host(None, "host", None);
    means("ssh://host/./r", host(), "/./r", None, "ssh://host/./r");
    means("ssh://host/~/r", host(), "/~/r", None, "ssh://host/~/r");
    means(
        "ssh://host:0/~u/r",
        host(),
        "/~u/r",
        None,
        "ssh://host/~u/r",
    );
    let host = ssh_host(None, "[fe80::1]", Some(22));
    means(
        "ssh://[fe80::1]:22/r::a",
        host,
        "/r",
        Some("a"),
        "ssh://[fe80::1]:22/r",
    );
}

#[test]
fn scp_addresses() {
    let host = || ssh_host(Some("u"), "h", None);
    means("u@h:/a::b", host(), "/a", Some("b"), "ssh://u@h/a");
    means("u@h:a/b", host(), "a/b", None, "ssh://u@h/./a/b");
    means("u@h:~/a", host(), "~/a", None, "ssh://u@h/~/a");
    means(
        "[::1]:a",
        ssh_host(None, "[::1]", None),
        "a",
        None,
        "ssh://[::1]/./a",
    );
}

#[test]
fn no_repository_means_the_default_one() {
    let default = Some(&b"ssh://h/r::unused"[..]);
    for (text, archive) in [("", None), ("::", None), ("::a", Some(&b"a"[..]))] {
        let location = Location::parse(text.as_bytes(), default).unwrap();
        assert_eq!(location.path, b"/r");
        assert_eq!(location.archive.as_deref(), archive);
        assert_eq!(location.repository_text(), "ssh://h/r");
        assert!(Location::parse(text.as_bytes(), None).is_err());
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "ssh://host",
        "ssh://host/",
        "ssh://host:x/a",
        "ssh://[::1/a",
        "ssh:///a",
        "//a",
        ":a",
        "a::",
        "a::b/c",
        "::a/b",
        "ssh://h:70000/a",
        "file://",
        "file:///",
    ] {
        let default = Some(&b"/default"[..]);
        let error = Location::parse(text.as_bytes(), default).unwrap_err();
        let expected = format!("Invalid location format: \"{text}\"");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn options_of_ssh_are_no_hosts_or_users() {
    for text in [
        "ssh://-oProxyCommand=x/a",
        "-oX@h:a",
        "ssh://-u@h/a",
        "-h:a",
    ] {
        let error = Location::parse(text.as_bytes(), None).unwrap_err();
        assert_eq!(error, LocationError::OptionLike(text.to_owned()));
    }
    assert!(parse("./-a").is_local());
}

#[test]
fn unknown_schemes_are_refused() {
    let error = Location::parse(b"sftp://h/a", None).unwrap_err();
    assert_eq!(error, LocationError::UnknownScheme("sftp://h/a".to_owned()));
}

#[test]
fn key_files_are_named_after_the_path() {
    for (text, name) in [
        ("/mnt/backup/repo", "mnt_backup_repo"),
        ("ssh://user@host/./repo", "host__repo"),
        ("u@[fe80::1]:~/r-é", "fe80__1__r_é"),
        ("../x y", "x_y"),
    ] {
        assert_eq!(parse(text).key_file_name(), name);
    }
    assert_eq!(
        parse(&"/é".repeat(200)).key_file_name().chars().count(),
        100
    );
    let bytes = Location::parse(b"/a\xff\xfeb", None).unwrap();
    assert_eq!(bytes.key_file_name(), "a__b");
}

#[test]
fn commands_can_ask_for_an_archive_or_none() {
    assert_eq!(parse("r::a").require_archive(), Ok(&b"a"[..]));
    let error = parse("r").require_archive().unwrap_err();
    assert_eq!(error.to_string(), "\"r\": No archive specified");
    assert_eq!(parse("r").forbid_archive(), Ok(()));
    let error = parse("r::a").forbid_archive().unwrap_err();
    assert_eq!(error.to_string(), "\"r::a\": No archive can be specified");
}

#[test]
fn archive_names_have_no_separators() {
    assert!(check_archive_name(b"host-2026-11-22:1").is_ok());
    for name in [&b""[..], b"a/b", b"a::b"] {
        assert!(check_archive_name(name).is_err());
    }
}

#[test]
fn paths_are_normalized_by_their_words() {
    for (path, normal) in [
        ("", "."),
        (".", "."),
        ("/", "/"),
        ("//", "//"),
        ("///a", "/a"),
        ("//a/..", "//"),
        ("a/..", "."),
        ("../a/../..", "../.."),
        ("/..", "/"),
        ("a/b/../../../c", "../c"),
    ] {
        let made = normalize_path(path.as_bytes());
        assert_eq!(String::from_utf8_lossy(&made), normal, "{path}");
    }
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail(text: Vec<u8>) {
        let _ = Location::parse(&text, None);
    }

    #[test]
    fn canonical_forms_mean_the_same_place(
        text in "(ssh://)?(u@)?(h|\\[::1\\])(:22)?:?(/|/\\./|/~/|~/|a|b/)[a-c][a-c/:]{0,8}"
    ) {
        if let Ok(location) = Location::parse(text.as_bytes(), None)
            && !location.is_local()
        {
            let canonical = location.canonical(b"/");
            if let Ok(again) = Location::parse(&canonical, None) {
                prop_assert_eq!(&again.host, &location.host);
                prop_assert_eq!(again.canonical(b"/"), canonical);
            }
        }
    }

    #[test]
    fn normal_paths_stay(path in "[a./]{0,12}") {
        let normal = normalize_path(path.as_bytes());
        prop_assert_eq!(normalize_path(&normal), normal);
    }
}
