//! Addresses of repositories and archives.
//!
//! ```text
//! ssh://[user@]host[:port]/path[::archive]    host may be [IPv6]; /./x from the login directory,
//!                                             /~/x and /~user/x from a home
//! [user@]host:path[::archive]                 the same, as scp writes it
//! file:///path[::archive]   path[::archive]   this machine
//! ::archive   ::   (nothing)                  the repository of BORG_REPO
//! ```
//!
//! A path ends at the first `::`. Placeholders are replaced before an address gets here. Where Borg
//! takes an unknown `scheme://` for a local path, or a host or user beginning with `-` as it is
//! (ssh would read an option), this module refuses.

use std::fmt::Write as _;

/// A text that is no address, or one that is not wanted here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// The text has none of the forms.
    #[error("Invalid location format: \"{0}\"")]
    Invalid(String),
    /// The text begins with a scheme this program does not know.
    #[error("Invalid location format: \"{0}\": only ssh:// and file:// are known")]
    UnknownScheme(String),
    /// User or host begin with `-` and would become an option of ssh.
    #[error("Invalid location format: \"{0}\": user and host must not begin with \"-\"")]
    OptionLike(String),
    /// An archive is needed, and only a repository is given.
    #[error("\"{0}\": No archive specified")]
    ArchiveMissing(String),
    /// A repository is needed, and an archive is given.
    #[error("\"{0}\": No archive can be specified")]
    ArchiveUnwanted(String),
    /// A name cannot be that of an archive.
    #[error("Invalid archive name: \"{0}\"")]
    InvalidArchiveName(String),
}

/// The machine a repository is on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// This one.
    Local,
    /// One that is reached by ssh.
    Ssh {
        /// Login name.
        user: Option<String>,
        /// Host name or address; IPv6 addresses in brackets.
        host: String,
        /// Port, if not the one ssh would take.
        port: Option<u16>,
    },
}

/// Where a repository is, and perhaps which archive in it is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The machine.
    pub host: Host,
    /// Path on it, without `.`, `..` and doubled slashes, except for a leading `/./`.
    pub path: Vec<u8>,
    /// Name of the archive.
    pub archive: Option<Vec<u8>>,
    text: Vec<u8>,
}

impl Location {
    /// Reads an address; a text without a repository means `default` (`BORG_REPO`).
    ///
    /// # Errors
    /// [`LocationError`] when it is none.
    pub fn parse(text: &[u8], default: Option<&[u8]>) -> Result<Self, LocationError> {
        let archive = match text {
            b"" | b"::" => None,
            [b':', b':', name @ ..] if !name.contains(&b'/') => Some(name),
            _ => return Self::parse_full(text),
        };
        let default = default.ok_or_else(|| LocationError::Invalid(readable(text)))?;
        let mut location = Self::parse_full(default)?;
        location.archive = archive.map(<[u8]>::to_vec);
        if archive.is_some() {
            location.text.extend_from_slice(text);
        }
        Ok(location)
    }

    fn parse_full(text: &[u8]) -> Result<Self, LocationError> {
        let parts = if let Some(rest) = text.strip_prefix(b"ssh://") {
            ssh(rest)
        } else if let Some(rest) = text.strip_prefix(b"file://") {
            file(rest)
        } else if has_scheme(text) {
            return Err(LocationError::UnknownScheme(readable(text)));
        } else {
            scp(text).or_else(|| local(text))
        };
        let parts = parts.ok_or_else(|| LocationError::Invalid(readable(text)))?;
        if let Host::Ssh { user, host, .. } = &parts.host {
            let names = user.iter().chain([host]);
            if names.into_iter().any(|name| name.starts_with('-')) {
                return Err(LocationError::OptionLike(readable(text)));
            }
        }
        Ok(Self {
            host: parts.host,
            path: normalize_keeping_relative(parts.path),
            archive: parts.archive.map(<[u8]>::to_vec),
            text: text.to_vec(),
        })
    }

    /// Returns the address as it was given, with the archive.
    pub fn text(&self) -> String {
        readable(&self.text)
    }

    /// Returns the address as it was given, without the archive.
    pub fn repository_text(&self) -> String {
        readable(split_archive(&self.text).0)
    }

    /// Returns the name of the archive.
    ///
    /// # Errors
    /// [`LocationError::ArchiveMissing`] when there is none.
    pub fn require_archive(&self) -> Result<&[u8], LocationError> {
        let archive = self.archive.as_deref();
        archive.ok_or_else(|| LocationError::ArchiveMissing(self.text()))
    }

    /// Makes sure that no archive is given.
    ///
    /// # Errors
    /// [`LocationError::ArchiveUnwanted`] when there is one.
    pub fn forbid_archive(&self) -> Result<(), LocationError> {
        match self.archive {
            None => Ok(()),
            Some(_) => Err(LocationError::ArchiveUnwanted(self.text())),
        }
    }

    /// Returns whether the repository is on this machine.
    pub fn is_local(&self) -> bool {
        self.host == Host::Local
    }

    /// Returns the form by which clients recognise a repository (security directory, cache): the
    /// absolute path, with `directory` as the current one, or an `ssh://` address.
    pub fn canonical(&self, directory: &[u8]) -> Vec<u8> {
        let Host::Ssh { user, host, port } = &self.host else {
            return absolute_path(&self.path, directory);
        };
        let mut out = String::from("ssh://");
        if let Some(user) = user {
            out.push_str(user);
            out.push('@');
        }
        out.push_str(host);
        if let Some(port) = port {
            // Writing to a string cannot fail.
            let _ = write!(out, ":{port}");
        }
        match self.path.first() {
            Some(b'/') => {}
            Some(b'~') => out.push('/'),
            _ => out.push_str("/./"),
        }
        let mut out = out.into_bytes();
        out.extend_from_slice(&self.path);
        out
    }

    /// Returns the name of a new key file for this repository, before a number is appended to a
    /// name that is taken.
    pub fn key_file_name(&self) -> String {
        let mut name = words(&readable_with_marks(&self.path));
        name = name.trim_matches('_').to_owned();
        if let Host::Ssh { host, .. } = &self.host {
            let host = words(host.trim_start_matches('[').trim_end_matches(']'));
            name = format!("{host}__{name}");
        }
        name.chars().take(100).collect()
    }
}

/// Makes sure that a text can be the name of an archive.
///
/// # Errors
/// [`LocationError::InvalidArchiveName`] when it is empty or has `/` or `::` in it.
pub fn check_archive_name(name: &[u8]) -> Result<(), LocationError> {
    if name.is_empty() || name.contains(&b'/') || name.windows(2).any(|pair| pair == b"::") {
        return Err(LocationError::InvalidArchiveName(readable(name)));
    }
    Ok(())
}

struct Parts<'a> {
    host: Host,
    path: &'a [u8],
    archive: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// Splits off the archive; none when the path is empty or the archive no name.
    fn new(host: Host, rest: &'a [u8]) -> Option<Self> {
        let (path, archive) = split_archive(rest);
        let bad = |name: &[u8]| name.is_empty() || name.contains(&b'/');
        if path.is_empty() || archive.is_some_and(bad) {
            return None;
        }
        Some(Self {
            host,
            path,
            archive,
        })
    }
}

fn split_archive(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = text.windows(2).position(|pair| pair == b"::");
    match end.and_then(|end| text.split_at_checked(end)) {
        None => (text, None),
        Some((path, rest)) => (path, rest.strip_prefix(b"::")),
    }
}

/// Splits at the first byte that is one of `separators`, which stays with the second part.
fn split_before<'a>(text: &'a [u8], separators: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.iter().position(|byte| separators.contains(byte))?;
    text.split_at_checked(at)
}

/// Takes `[user@]host` off; what follows begins with `:` or `/`.
fn user_and_host(text: &[u8]) -> Option<(Option<String>, String, &[u8])> {
    if let Some((user, rest)) = split_before(text, b"@:/")
        && let Some(rest) = rest.strip_prefix(b"@")
        && !user.is_empty()
        && let Some((host, rest)) = host(rest)
    {
        return Some((Some(String::from_utf8(user.to_vec()).ok()?), host, rest));
    }
    host(text).map(|(host, rest)| (None, host, rest))
}

fn host(text: &[u8]) -> Option<(String, &[u8])> {
    let (name, rest) = if text.starts_with(b"[") {
        let end = text.iter().position(|&byte| byte == b']')?;
        let (name, rest) = text.split_at_checked(end + 1)?;
        let digits = name.get(1..end)?;
        let valid = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        if digits.is_empty() || !digits.iter().all(valid) {
            return None;
        }
        (name, rest)
    } else {
        let (name, rest) = split_before(text, b":/")?;
        if name.is_empty() || name.ends_with(b"]") {
            return None;
        }
        (name, rest)
    };
    Some((String::from_utf8(name.to_vec()).ok()?, rest))
}

fn ssh(text: &[u8]) -> Option<Parts<'_>> {
    let (user, host, mut rest) = user_and_host(text)?;
    let mut port = None;
    if let Some(after) = rest.strip_prefix(b":") {
        let (digits, path) = split_before(after, b"/")?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        port = (number != 0).then_some(number);
        rest = path;
    }
    let parts = Parts::new(Host::Ssh { user, host, port }, rest)?;
    (parts.path.starts_with(b"/") && parts.path.len() > 1).then_some(parts)
}

fn file(text: &[u8]) -> Option<Parts<'_>> {
    let (_server, path) = split_before(text, b"/")?;
    let (after, _) = split_archive(path);
    let parts = Parts::new(Host::Local, text)?;
    (after.len() > 1).then_some(parts)
}

fn scp(text: &[u8]) -> Option<Parts<'_>> {
    let (user, host, rest) = user_and_host(text)?;
    let path = rest.strip_prefix(b":")?;
    if [&b":"[..], b"//", b"ssh://"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
    {
        return None;
    }
    let port = None;
    Parts::new(Host::Ssh { user, host, port }, path)
}

fn local(text: &[u8]) -> Option<Parts<'_>> {
    if text.starts_with(b":") || text.starts_with(b"//") {
        return None;
    }
    Parts::new(Host::Local, text)
}

fn has_scheme(text: &[u8]) -> bool {
    let Some((scheme, rest)) = split_before(text, b":/@") else {
        return false;
    };
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    scheme.len() > 1 && scheme.iter().all(valid) && rest.starts_with(b"://")
}

/// `/./` at the beginning means relative to the login directory and stays.
fn normalize_keeping_relative(path: &[u8]) -> Vec<u8> {
    let normal = normalize_path(path);
    if path.starts_with(b"/./") {
        [b"/.", normal.as_slice()].concat()
    } else {
        normal
    }
}

/// Returns a path without empty and `.` parts and with `..` resolved by its words alone. Exactly
/// two leading slashes stay two (POSIX gives them a meaning of their own), nothing becomes `.`.
pub fn normalize_path(path: &[u8]) -> Vec<u8> {
    let root: &[u8] = match path {
        [b'/', b'/', b'/', ..] => b"/",
        [b'/', b'/', ..] => b"//",
        [b'/', ..] => b"/",
        _ => b"",
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                None if !root.is_empty() => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let mut out = root.to_vec();
    out.extend_from_slice(&parts.join(&b"/"[..]));
    if out.is_empty() {
        out.push(b'.');
    }
    out
}

/// Returns a normal path that does not depend on the current directory.
pub fn absolute_path(path: &[u8], directory: &[u8]) -> Vec<u8> {
    if path.starts_with(b"/") {
        return normalize_path(path);
    }
    normalize_path(&[directory, b"/", path].concat())
}

fn readable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// As text, with one replacement character for each byte that is none.
fn readable_with_marks(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    out
}

/// Replaces what is no letter, digit or underscore.
fn words(text: &str) -> String {
    let word = |c: char| if c.is_alphanumeric() { c } else { '_' };
    text.chars().map(word).collect()
}

#[cfg(test)]
mod tests;
