//! msgpack as JSON, as Borg's dumps show it.

use fastness_format::msgpack::{DecodeError, Value};

use crate::error::CommandError;
use crate::output::json::{Indent, Json};

/// Stands before bytes that are shown as hexadecimal digits.
const DELETE: char = '\u{7f}';

/// The error of an object that is no msgpack.
pub fn malformed(error: DecodeError) -> CommandError {
    CommandError::general(format!("malformed metadata: {error}"))
}

/// Decodes metadata.
///
/// # Errors
/// When it is no msgpack.
pub fn decoded(data: &[u8]) -> Result<Json, CommandError> {
    Ok(json(&Value::decode(data).map_err(malformed)?))
}

/// Makes JSON of a value; keys keep their order.
pub fn json(value: &Value) -> Json {
    match value {
        Value::Nil => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => match i64::try_from(*value) {
            Ok(value) => Json::Int(value),
            Err(_) => Json::Text(value.to_string()),
        },
        Value::Float(value) => Json::Float(*value),
        Value::Raw(bytes) => Json::Text(text(bytes)),
        Value::Array(values) => Json::List(values.iter().map(json).collect()),
        Value::Map(pairs) => {
            let member = |(key, value): &(Value, Value)| (name(key), json(value));
            Json::Map(pairs.iter().map(member).collect())
        }
    }
}

fn name(key: &Value) -> String {
    match key {
        Value::Raw(bytes) => text(bytes),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.starts_with(DELETE) => text.to_owned(),
        _ => {
            let mut text = String::from(DELETE);
            text.extend(bytes.iter().map(|byte| format!("{byte:02x}")));
            text
        }
    }
}

/// Lays a value out over lines that are indented once.
pub fn indented(value: &Json) -> String {
    let text = value.to_document_in_order(&Indent::default());
    let lines: Vec<String> = text.lines().map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_marked_digits() {
        assert_eq!(text(b"plain"), "plain");
        assert_eq!(text(b"\xff\x01"), "\u{7f}ff01");
        assert_eq!(text(b"\x7fx"), "\u{7f}7f78");
    }
}
