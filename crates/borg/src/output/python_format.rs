//! The language of `--format` and of placeholders: Python's `str.format`, for texts and numbers.
//!
//! ```text
//! text {key} {key:<36} {key:8d} {key!s:>20} {{literal braces}}
//! ```
//!
//! A template is taken apart once and written many times. Texts are bytes: a byte that is no UTF-8
//! counts as one character.

use std::str::FromStr;

/// A template or a format that Python would not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Braces do not match.
    #[error("{0}")]
    Syntax(&'static str),
    /// A conversion other than `!s`.
    #[error("Unknown conversion specifier '{0}'")]
    Conversion(String),
    /// The part behind the colon is not understood.
    #[error("Invalid format specifier '{0}'")]
    Specifier(String),
    /// The type letter does not go with the value.
    #[error("Unknown format code '{code}' for object of type '{of}'")]
    Code {
        /// The letter.
        code: char,
        /// `str` or `int`.
        of: &'static str,
    },
    /// Something that numbers have and texts have not, or the other way round.
    #[error("{0}")]
    NotAllowed(&'static str),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Literal(String),
    /// A value to put in.
    Field(Field),
}

/// A value to put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub key: String,
    /// What stands behind an exclamation mark.
    pub conversion: Option<String>,
    /// What stands behind the colon.
    pub format: String,
}

impl Field {
    /// Returns whether the value is to be made a text first (`!s`).
    ///
    /// # Errors
    /// [`FormatError::Conversion`] for all other conversions.
    pub fn as_text(&self) -> Result<bool, FormatError> {
        match self.conversion.as_deref() {
            None => Ok(false),
            Some("s") => Ok(true),
            Some(other) => Err(FormatError::Conversion(other.to_owned())),
        }
    }
}

/// Takes a template apart.
///
/// # Errors
/// [`FormatError::Syntax`] when braces do not match.
pub fn parse(template: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        literal.push_str(before);
        if let Some(after) = brace.strip_prefix("{{") {
            literal.push('{');
            rest = after;
        } else if let Some(after) = brace.strip_prefix("}}") {
            literal.push('}');
            rest = after;
        } else if let Some(after) = brace.strip_prefix('{') {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            let (inner, after) = after
                .split_once('}')
                .ok_or(FormatError::Syntax("expected '}' before end of string"))?;
            pieces.push(Piece::Field(field(inner)?));
            rest = after;
        } else {
            return Err(FormatError::Syntax(
                "Single '}' encountered in format string",
            ));
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn field(inner: &str) -> Result<Field, FormatError> {
    if inner.contains('{') {
        return Err(FormatError::Syntax("unexpected '{' in field name"));
    }
    let (name, format) = inner.split_once(':').unwrap_or((inner, ""));
    let (key, conversion) = match name.split_once('!') {
        None => (name, None),
        Some((key, conversion)) => (key, Some(conversion.to_owned())),
    };
    Ok(Field {
        key: key.to_owned(),
        conversion,
        format: format.to_owned(),
    })
}

/// How a text or number is laid out: `[[fill]align][sign][#][0][width][,][.precision][type]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specifier {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    code: Option<char>,
}

/// The widest field: Python has no limit, but nobody means more.
const MAX_WIDTH: usize = 100_000;

impl FromStr for Specifier {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let invalid = || FormatError::Specifier(text.to_owned());
        let is_align = |c: &char| "<>=^".contains(*c);
        let chars: Vec<char> = text.chars().collect();
        let mut rest = chars.as_slice();
        let mut spec = Self::default();
        match rest {
            [fill, align, after @ ..] if is_align(align) => {
                (spec.fill, spec.align, rest) = (Some(*fill), Some(*align), after);
            }
            [align, after @ ..] if is_align(align) => (spec.align, rest) = (Some(*align), after),
            _ => {}
        }
        if let [sign @ ('+' | '-' | ' '), after @ ..] = rest {
            (spec.sign, rest) = (Some(*sign), after);
        }
        if let ['#', after @ ..] = rest {
            (spec.alternate, rest) = (true, after);
        }
        if let ['0', after @ ..] = rest {
            (spec.zero, rest) = (true, after);
        }
        if let Some(width) = take_number(&mut rest, &invalid)? {
            spec.width = width;
        }
        if let [grouping @ (',' | '_'), after @ ..] = rest {
            (spec.grouping, rest) = (Some(*grouping), after);
        }
        if let ['.', after @ ..] = rest {
            rest = after;
            spec.precision = Some(take_number(&mut rest, &invalid)?.ok_or_else(invalid)?);
        }
        match rest {
            [] => {}
            [code] => spec.code = Some(*code),
            _ => return Err(invalid()),
        }
        Ok(spec)
    }
}

fn take_number(
    rest: &mut &[char],
    invalid: &impl Fn() -> FormatError,
) -> Result<Option<usize>, FormatError> {
    let digits: String = rest.iter().take_while(|c| c.is_ascii_digit()).collect();
    if digits.is_empty() {
        return Ok(None);
    }
    *rest = rest.get(digits.len()..).unwrap_or_default();
    match digits.parse() {
        Ok(number) if number <= MAX_WIDTH => Ok(Some(number)),
        _ => Err(invalid()),
    }
}

impl Specifier {
    /// Returns whether nothing is asked for.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Appends a text.
    ///
    /// # Errors
    /// [`FormatError`] when the specifier is one for numbers.
    pub fn write_text(&self, out: &mut Vec<u8>, text: &[u8]) -> Result<(), FormatError> {
        if self.is_empty() {
            out.extend_from_slice(text);
            return Ok(());
        }
        self.check_text()?;
        let (text, taken) = match self.precision {
            None => (text, characters(text)),
            Some(precision) => cut(text, precision),
        };
        let fill = self.fill.unwrap_or(if self.zero { '0' } else { ' ' });
        let missing = self.width.saturating_sub(taken);
        let before = match self.align {
            Some('>') => missing,
            Some('^') => missing / 2,
            _ => 0,
        };
        pad(out, fill, before);
        out.extend_from_slice(text);
        pad(out, fill, missing - before);
        Ok(())
    }

    fn check_text(&self) -> Result<(), FormatError> {
        if let Some(code) = self.code.filter(|&code| code != 's') {
            return Err(FormatError::Code { code, of: "str" });
        }
        if self.sign.is_some() {
            let text = "Sign not allowed in string format specifier";
            return Err(FormatError::NotAllowed(text));
        }
        if self.alternate {
            let text = "Alternate form (#) not allowed in string format specifier";
            return Err(FormatError::NotAllowed(text));
        }
        if self.align == Some('=') {
            let text = "'=' alignment not allowed in string format specifier";
            return Err(FormatError::NotAllowed(text));
        }
        match self.grouping {
            Some(_) => Err(FormatError::NotAllowed("Cannot specify ',' with 's'.")),
            None => Ok(()),
        }
    }

    /// Appends a number.
    ///
    /// # Errors
    /// [`FormatError`] when the specifier is one for texts.
    pub fn write_int(&self, out: &mut Vec<u8>, value: i64) -> Result<(), FormatError> {
        let (prefix, digits) = self.digits(value)?;
        let sign = match self.sign {
            _ if value < 0 => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let prefix = if self.alternate { prefix } else { "" };
        let fill = self.fill.unwrap_or(if self.zero { '0' } else { ' ' });
        let taken = sign.len() + prefix.len() + digits.len();
        let missing = self.width.saturating_sub(taken);
        let align = self.align.unwrap_or(if self.zero { '=' } else { '>' });
        let before = match align {
            '>' => missing,
            '^' => missing / 2,
            _ => 0,
        };
        let inside = if align == '=' { missing } else { 0 };
        pad(out, fill, before);
        out.extend_from_slice(sign.as_bytes());
        out.extend_from_slice(prefix.as_bytes());
        pad(out, fill, inside);
        out.extend_from_slice(digits.as_bytes());
        pad(out, fill, missing - before - inside);
        Ok(())
    }

    /// Returns the prefix of the base and the digits of the amount.
    fn digits(&self, value: i64) -> Result<(&'static str, String), FormatError> {
        let amount = value.unsigned_abs();
        let code = self.code.unwrap_or('d');
        if self.precision.is_some() && "bcdnoxX".contains(code) {
            let text = "Precision not allowed in integer format specifier";
            return Err(FormatError::NotAllowed(text));
        }
        let precision = self.precision.unwrap_or(6);
        Ok(match code {
            'd' | 'n' => ("", self.grouped(amount.to_string(), 3)),
            'b' => ("0b", self.grouped(format!("{amount:b}"), 4)),
            'o' => ("0o", self.grouped(format!("{amount:o}"), 4)),
            'x' => ("0x", self.grouped(format!("{amount:x}"), 4)),
            'X' => ("0X", self.grouped(format!("{amount:X}"), 4)),
            'f' | 'F' => {
                let text = format!("{:.precision$}", amount as f64);
                let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
                ("", self.grouped(whole.to_owned(), 3) + fraction)
            }
            '%' => ("", format!("{:.precision$}%", amount as f64 * 100.0)),
            code => return Err(FormatError::Code { code, of: "int" }),
        })
    }

    fn grouped(&self, digits: String, every: usize) -> String {
        let Some(separator) = self.grouping else {
            return digits;
        };
        let mut out = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(every) {
                out.push(separator);
            }
            out.push(digit);
        }
        out
    }
}

fn pad(out: &mut Vec<u8>, fill: char, count: usize) {
    if fill == ' ' {
        out.resize(out.len() + count, b' ');
        return;
    }
    for _ in 0..count {
        out.extend_from_slice(fill.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

/// Counts characters; each byte that is no UTF-8 is one.
pub(super) fn characters(text: &[u8]) -> usize {
    if text.is_ascii() {
        return text.len();
    }
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

/// Returns the first characters, and how many they are.
fn cut(text: &[u8], most: usize) -> (&[u8], usize) {
    let (mut bytes, mut taken) = (0, 0);
    for chunk in text.utf8_chunks() {
        let lengths = chunk.valid().chars().map(char::len_utf8);
        for length in lengths.chain(chunk.invalid().iter().map(|_| 1)) {
            if taken == most {
                return (text.get(..bytes).unwrap_or(text), taken);
            }
            bytes += length;
            taken += 1;
        }
    }
    (text, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_come_apart() {
        let field = |key: &str, conversion: Option<&str>, format: &str| {
            Piece::Field(Field {
                key: key.to_owned(),
                conversion: conversion.map(str::to_owned),
                format: format.to_owned(),
            })
        };
        let literal = |text: &str| Piece::Literal(text.to_owned());
        let pieces = parse("a{{b}} {mtime:%H:%M}{x!s:>3}}}").unwrap();
        let expected = [
            literal("a{b} "),
            field("mtime", None, "%H:%M"),
            field("x", Some("s"), ">3"),
            literal("}"),
        ];
        assert_eq!(pieces, expected);
        for template in ["{", "a}", "{a{b}}", "{a"] {
            assert!(parse(template).is_err(), "{template}");
        }
    }

    /// Expected values are those of Python 3.11.
    #[test]
    fn texts_are_laid_out_as_by_python() {
        for (spec, text, expected) in [
            ("", "abc", "abc"),
            ("6", "abc", "abc   "),
            ("<6", "abc", "abc   "),
            (">6", "abc", "   abc"),
            ("^6", "abc", " abc  "),
            ("*^6s", "é", "**é***"),
            ("06", "abc", "abc000"),
            (".2", "abc", "ab"),
            (">5.2", "éàü", "   éà"),
            ("2", "abc", "abc"),
        ] {
            let mut out = Vec::new();
            let spec: Specifier = spec.parse().unwrap();
            spec.write_text(&mut out, text.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{spec:?}");
        }
        for spec in ["d", "=5", "+5", "#5", ",", "5zz", "5.", "99999999"] {
            let spec: Result<Specifier, _> = spec.parse();
            let written = spec.and_then(|spec| spec.write_text(&mut Vec::new(), b"x"));
            assert!(written.is_err());
        }
        let mut out = Vec::new();
        let spec: Specifier = "4.2".parse().unwrap();
        spec.write_text(&mut out, b"\xff\xfea").unwrap();
        assert_eq!(out, b"\xff\xfe  ");
    }

    #[test]
    fn numbers_are_laid_out_as_by_python() {
        for (spec, value, expected) in [
            ("", 42, "42"),
            ("6", 42, "    42"),
            ("<6d", 42, "42    "),
            ("^6", 42, "  42  "),
            ("06", -42, "-00042"),
            ("+", 42, "+42"),
            ("*=+6", 42, "+***42"),
            (" d", 42, " 42"),
            (",", 1_234_567, "1,234,567"),
            ("_", 1_234_567, "1_234_567"),
            ("#x", 255, "0xff"),
            ("08o", 0o755, "00000755"),
            ("X", 255, "FF"),
            ("b", 5, "101"),
            (".1f", 1234, "1234.0"),
            (",.2f", 1234, "1,234.00"),
            ("%", 1, "100.000000%"),
        ] {
            let mut out = Vec::new();
            let parsed: Specifier = spec.parse().unwrap();
            parsed.write_int(&mut out, value).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{spec}");
        }
        for spec in ["s", ".2", "z", "q"] {
            let spec: Specifier = spec.parse().unwrap();
            assert!(spec.write_int(&mut Vec::new(), 1).is_err());
        }
    }
}
