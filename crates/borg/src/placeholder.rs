//! Placeholders in addresses, archive names, globs and comments: `{hostname}-{now:%Y-%m-%d}`.
//!
//! The language is that of `--format`, but without conversions. The machine's full name is asked
//! for only when a text has it: that may go over the network.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};

use fastness_engine::times::LocalTime;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::BORG_VERSION;
use crate::environment::Environment;
use crate::error::CommandError;
use crate::output::item_format::{malformed, unknown_key};
use crate::output::python_format::{Field, FormatError, Piece, Specifier, parse};

/// The values of all placeholders.
#[derive(Clone, Debug)]
pub struct Placeholders {
    /// Number of this process.
    pub pid: u32,
    /// The machine's name without a domain.
    pub hostname: String,
    /// Its full name; asked for when first used.
    pub fqdn: OnceCell<String>,
    /// Name of the user.
    pub user: String,
    /// The time that `{now}`, `{utcnow}` and `{unixtime}` mean.
    pub now: Timestamp,
    /// Finds the zone of `{now}`, which takes a while: only when it is asked for.
    pub zone: fn() -> TimeZone,
    /// A random id, in the form of a UUID of version 4.
    pub uuid4: String,
}

/// Returns the machine's name without a domain, or what `BORG_HOSTNAME` says instead.
pub fn short_host_name(environment: &Environment) -> String {
    environment.hostname.clone().unwrap_or_else(|| {
        let name = fastness_sys::host::host_name();
        let short = name.split(|&byte| byte == b'.').next();
        String::from_utf8_lossy(short.unwrap_or_default()).into_owned()
    })
}

/// Returns the name of the user, or what `BORG_USERNAME` says instead.
pub fn user_name(environment: &Environment) -> String {
    environment.username.clone().unwrap_or_else(|| {
        let user = fastness_sys::users::current_user();
        let name = user.map(|user| user.name).unwrap_or_default();
        String::from_utf8_lossy(&name).into_owned()
    })
}

/// Writes random bytes as a UUID of version 4.
pub fn uuid4(random: [u8; 16]) -> String {
    let number = u128::from_be_bytes(random);
    let version = (number & !(0xf << 76)) | (4 << 76);
    let number = (version & !(0b11 << 62)) | (0b10 << 62);
    let text = format!("{number:032x}");
    let mut out = String::with_capacity(36);
    for (at, digit) in text.chars().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(digit);
    }
    out
}

impl Placeholders {
    /// Takes the values of this machine.
    pub fn of_machine(
        environment: &Environment,
        now: Timestamp,
        zone: fn() -> TimeZone,
        random: [u8; 16],
    ) -> Self {
        Self {
            pid: fastness_sys::process::own_pid(),
            hostname: short_host_name(environment),
            fqdn: OnceCell::new(),
            user: user_name(environment),
            now,
            zone,
            uuid4: uuid4(random),
        }
    }

    /// Replaces the placeholders in a text.
    ///
    /// # Errors
    /// `InvalidPlaceholder` for an unknown one, `PlaceholderError` for a malformed one.
    pub fn replace(&self, text: &str) -> Result<String, CommandError> {
        if !text.contains(['{', '}']) {
            return Ok(text.to_owned());
        }
        let malformed = |error: FormatError| malformed(text, &error);
        let mut out = Vec::with_capacity(text.len());
        for piece in parse(text).map_err(malformed)? {
            match piece {
                Piece::Literal(literal) => out.extend_from_slice(literal.as_bytes()),
                Piece::Field(field) if field.key.is_empty() => {
                    let reason = "Format string contains positional fields";
                    return Err(malformed(FormatError::NotAllowed(reason)));
                }
                Piece::Field(field) if field.conversion.is_some() => {
                    return Err(unknown_key(&field.key, text));
                }
                Piece::Field(field) => match self.write(&mut out, &field) {
                    None => return Err(unknown_key(&field.key, text)),
                    Some(written) => written.map_err(malformed)?,
                },
            }
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    /// As [`Self::replace`], for an argument; one that is no UTF-8 can have no placeholders.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub fn replace_argument(&self, text: &OsStr) -> Result<OsString, CommandError> {
        match text.to_str() {
            Some(text) => self.replace(text).map(OsString::from),
            None => Ok(text.to_owned()),
        }
    }

    fn write(&self, out: &mut Vec<u8>, field: &Field) -> Option<Result<(), FormatError>> {
        let version: Vec<&str> = BORG_VERSION.split('.').collect();
        let version = |parts: usize| version.get(..parts).unwrap_or(&version).join(".");
        let text = match field.key.as_str() {
            "now" => return Some(self.write_time(out, field, &(self.zone)())),
            "utcnow" => return Some(self.write_time(out, field, &TimeZone::UTC)),
            "pid" => return Some(write_number(out, field, self.pid.into())),
            "unixtime" => {
                let seconds = self.now.as_microsecond().div_euclid(1_000_000);
                return Some(write_number(out, field, seconds));
            }
            "hostname" => self.hostname.clone(),
            "fqdn" => self.fqdn().to_owned(),
            "reverse-fqdn" => self.fqdn().rsplit('.').collect::<Vec<_>>().join("."),
            "user" => self.user.clone(),
            "uuid4" => self.uuid4.clone(),
            "borgversion" => BORG_VERSION.to_owned(),
            "borgmajor" => version(1),
            "borgminor" => version(2),
            "borgpatch" => version(3),
            _ => return None,
        };
        let specifier = field.format.parse::<Specifier>();
        Some(specifier.and_then(|specifier| specifier.write_text(out, text.as_bytes())))
    }

    fn write_time(
        &self,
        out: &mut Vec<u8>,
        field: &Field,
        zone: &TimeZone,
    ) -> Result<(), FormatError> {
        let time = LocalTime::with_zone(self.now, zone);
        let text = match field.format.as_str() {
            "" => time.iso_seconds(),
            format => time.strftime(format),
        };
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn fqdn(&self) -> &str {
        self.fqdn.get_or_init(|| {
            let name = fastness_sys::host::full_name(&fastness_sys::host::host_name());
            String::from_utf8_lossy(&name).into_owned()
        })
    }
}

fn write_number(out: &mut Vec<u8>, field: &Field, number: i64) -> Result<(), FormatError> {
    let specifier: Specifier = field.format.parse()?;
    specifier.write_int(out, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placeholders() -> Placeholders {
        Placeholders {
            pid: 42,
            hostname: "a".to_owned(),
            fqdn: OnceCell::from("a.b.c".to_owned()),
            user: "root".to_owned(),
            now: Timestamp::from_microsecond(1_704_428_405_123_456).unwrap(),
            zone: || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
            uuid4: uuid4([0xff; 16]),
        }
    }

    /// Expected texts are those of real Borg 1.4.5.
    #[test]
    fn placeholders_become_their_values() {
        for (text, expected) in [
            ("plain", "plain"),
            ("{hostname}-{now}", "a-2024-01-05T05:20:05"),
            ("{utcnow}", "2024-01-05T04:20:05"),
            ("{now:%Y-%m-%d %z}", "2024-01-05 +0100"),
            ("{now:%f %s}", "123456 1704428405"),
            ("{pid:06}", "000042"),
            ("{reverse-fqdn:>7}", "  c.b.a"),
            ("{{x}}", "{x}"),
            ("{user}@{fqdn} {unixtime}", "root@a.b.c 1704428405"),
            (
                "{borgversion} {borgmajor} {borgminor} {borgpatch}",
                "1.4.5 1 1.4 1.4.5",
            ),
            ("{uuid4}", "ffffffff-ffff-4fff-bfff-ffffffffffff"),
        ] {
            assert_eq!(placeholders().replace(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn other_braces_are_errors() {
        let error = |text: &str| placeholders().replace(text).unwrap_err();
        for text in ["{bogus}", "{hostname!s}", "{now!r}", "{0}", "{hostname.x}"] {
            assert_eq!(error(text).msgid, "InvalidPlaceholder", "{text}");
        }
        for text in [
            "{}",
            "{hostname:d}",
            "{",
            "}",
            "{hostname",
            "{user:=5}",
            "{:d}",
        ] {
            assert_eq!(error(text).msgid, "PlaceholderError", "{text}");
        }
        let expected = "Invalid placeholder \"bogus\" in string: x{bogus}";
        assert_eq!(error("x{bogus}").message, expected);
    }
}
