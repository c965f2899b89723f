//! JSON as Borg prints it: objects with sorted keys and indent, lines without.
//!
//! Borg's output is pure ASCII: every other character is written as `\uXXXX`,
//! and bytes of a name that are no UTF-8 come out as the lone surrogates
//! `\udc80`-`\udcff`. A lone surrogate is no text in Rust, so the value type
//! here keeps such names as bytes and the writer escapes them.

use std::collections::BTreeMap;

/// Tells how an object is laid out over lines (`BORG_JSON_INDENT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Indent {
    /// Everything on one line.
    None,
    /// A new line for each member, with this text once per level.
    With(String),
}

impl Default for Indent {
    fn default() -> Self {
        Self::With(" ".repeat(4))
    }
}

impl Indent {
    /// Reads the value of `BORG_JSON_INDENT`: `none`, a number of spaces, or the text itself.
    pub fn from_variable(value: &str) -> Self {
        if value.eq_ignore_ascii_case("none") {
            return Self::None;
        }
        match value.trim().parse::<i64>() {
            Ok(spaces) => Self::With(" ".repeat(spaces.clamp(0, 64).unsigned_abs() as usize)),
            Err(_) => Self::With(value.to_owned()),
        }
    }
}

/// A JSON value whose strings may hold any bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number that is always written with a fraction or an exponent.
    Float(f64),
    /// Text.
    Text(String),
    /// A name from disk: UTF-8 where it is, escaped bytes where not.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Json>),
    /// An object in the order given; printing may sort it.
    Map(Vec<(String, Json)>),
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Json {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<u64> for Json {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&[u8]> for Json {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(value.to_vec())
    }
}

impl From<Vec<u8>> for Json {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl FromIterator<Json> for Json {
    fn from_iter<I: IntoIterator<Item = Json>>(values: I) -> Self {
        Self::List(values.into_iter().collect())
    }
}

/// Makes an object from pairs, in their order.
pub fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Map(members.map(|(key, value)| (key.to_owned(), value)).into())
}

impl Json {
    /// Returns the value on one line, keys in the order given (`{"a": 1, "b": [2]}`).
    pub fn to_line(&self) -> String {
        let mut out = String::new();
        Writer {
            indent: None,
            sorted: false,
        }
        .value(self, 0, &mut out);
        out
    }

    /// Returns the value with sorted keys, laid out over lines.
    pub fn to_document(&self, indent: &Indent) -> String {
        self.laid_out(indent, true)
    }

    /// Returns the value laid out over lines, keys in the order given.
    pub fn to_document_in_order(&self, indent: &Indent) -> String {
        self.laid_out(indent, false)
    }

    fn laid_out(&self, indent: &Indent, sorted: bool) -> String {
        let indent = match indent {
            Indent::None => None,
            Indent::With(text) => Some(text.as_str()),
        };
        let mut out = String::new();
        Writer { indent, sorted }.value(self, 0, &mut out);
        out
    }
}

struct Writer<'a> {
    indent: Option<&'a str>,
    sorted: bool,
}

impl Writer<'_> {
    fn value(&self, value: &Json, level: usize, out: &mut String) {
        match value {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Int(value) => out.push_str(&value.to_string()),
            Json::Float(value) => out.push_str(&float(*value)),
            Json::Text(text) => quote(text.as_bytes(), out),
            Json::Bytes(bytes) => quote(bytes, out),
            Json::List(values) => self.list(values, level, out),
            Json::Map(members) => self.map(members, level, out),
        }
    }

    fn list(&self, values: &[Json], level: usize, out: &mut String) {
        out.push('[');
        for (index, value) in values.iter().enumerate() {
            self.separate(index, level + 1, out);
            self.value(value, level + 1, out);
        }
        if !values.is_empty() {
            self.line(level, out);
        }
        out.push(']');
    }

    fn map(&self, members: &[(String, Json)], level: usize, out: &mut String) {
        out.push('{');
        let mut member = |index: usize, key: &str, value: &Json| {
            self.separate(index, level + 1, out);
            quote(key.as_bytes(), out);
            out.push_str(": ");
            self.value(value, level + 1, out);
        };
        if self.sorted {
            let sorted: BTreeMap<&str, &Json> = members
                .iter()
                .map(|(key, value)| (key.as_str(), value))
                .collect();
            for (index, (key, value)) in sorted.into_iter().enumerate() {
                member(index, key, value);
            }
        } else {
            for (index, (key, value)) in members.iter().enumerate() {
                member(index, key, value);
            }
        }
        if !members.is_empty() {
            self.line(level, out);
        }
        out.push('}');
    }

    fn separate(&self, index: usize, level: usize, out: &mut String) {
        match (index, self.indent) {
            (0, _) => {}
            (_, Some(_)) => out.push(','),
            (_, None) => out.push_str(", "),
        }
        self.line(level, out);
    }

    fn line(&self, level: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            for _ in 0..level {
                out.push_str(indent);
            }
        }
    }
}

/// Writes a number as Python does: shortest digits, exponent of two digits at least.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{value:?}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

/// Appends a JSON string in ASCII; bytes that are no UTF-8 become lone surrogates.
fn quote(bytes: &[u8], out: &mut String) {
    out.push('"');
    for part in bytes.utf8_chunks() {
        for character in part.valid().chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                ' '..='~' => out.push(character),
                _ => {
                    let mut units = [0; 2];
                    for unit in character.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
        }
        for byte in part.invalid() {
            out.push_str(&format!("\\udc{byte:02x}"));
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_sorted_keys_and_four_spaces() {
        let value = object([
            ("name", "nas".into()),
            (
                "archives",
                Json::List(vec![object([("size", 7_u64.into())])]),
            ),
            ("empty", Json::List(Vec::new())),
        ]);
        assert_eq!(
            value.to_document(&Indent::default()),
            "{\n    \"archives\": [\n        {\n            \"size\": 7\n        }\n    ],\n    \
             \"empty\": [],\n    \"name\": \"nas\"\n}"
        );
        assert_eq!(
            value.to_line(),
            r#"{"name": "nas", "archives": [{"size": 7}], "empty": []}"#
        );
    }

    #[test]
    fn output_is_ascii_and_foreign_bytes_are_lone_surrogates() {
        let value = Json::List(vec![
            "\u{e9}\u{1f600}\u{7f}\"\\\n\u{1}".into(),
            Json::Bytes(b"a\xff\xc3".to_vec()),
        ]);
        assert_eq!(
            value.to_line(),
            "[\"\\u00e9\\ud83d\\ude00\\u007f\\\"\\\\\\n\\u0001\", \"a\\udcff\\udcc3\"]"
        );
    }

    #[test]
    fn floats_always_show_that_they_are_floats() {
        assert_eq!(float(0.0), "0.0");
        assert_eq!(float(1.5), "1.5");
        assert_eq!(float(0.00001), "1e-05");
        assert_eq!(float(1e16), "1e+16");
        assert_eq!(float(123456.789), "123456.789");
    }

    #[test]
    fn indent_variable_is_a_number_a_text_or_none() {
        assert_eq!(Indent::from_variable("None"), Indent::None);
        assert_eq!(Indent::from_variable("2"), Indent::With("  ".into()));
        assert_eq!(Indent::from_variable("\t"), Indent::With("\t".into()));
    }
}
