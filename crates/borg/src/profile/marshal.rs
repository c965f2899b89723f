//! Values in the form of Python's `marshal` module, as `pstats` reads profiles.
//!
//! A value is a letter for its type, then its bytes, numbers from the lowest byte on. Arrays become
//! tuples, which may be keys of maps.

use fastness_format::msgpack::Value;

/// Integers that do not fit into 32 bits are written in digits of so many.
const DIGIT_BITS: u32 = 15;

/// Returns a value in Python's form.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Nil => out.push(b'N'),
        Value::Bool(true) => out.push(b'T'),
        Value::Bool(false) => out.push(b'F'),
        Value::Int(number) => write_integer(*number, out),
        Value::Float(number) => {
            out.push(b'g');
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Raw(bytes) => {
            let is_text = std::str::from_utf8(bytes).is_ok();
            out.push(if is_text { b'u' } else { b's' });
            write_len(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Value::Array(values) => {
            out.push(b'(');
            write_len(values.len(), out);
            for value in values {
                write(value, out);
            }
        }
        Value::Map(pairs) => {
            out.push(b'{');
            for (key, value) in pairs {
                write(key, out);
                write(value, out);
            }
            out.push(b'0');
        }
    }
}

/// Lengths of decoded values fit, for msgpack's have 32 bits.
fn write_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
}

fn write_integer(number: i128, out: &mut Vec<u8>) {
    if let Ok(small) = i32::try_from(number) {
        out.push(b'i');
        out.extend_from_slice(&small.to_le_bytes());
        return;
    }
    let mut digits = Vec::new();
    let mut rest = number.unsigned_abs();
    while rest != 0 {
        digits.push((rest & ((1 << DIGIT_BITS) - 1)) as u16);
        rest >>= DIGIT_BITS;
    }
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    out.push(b'l');
    out.extend_from_slice(&(if number < 0 { -count } else { count }).to_le_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_letter() {
        let text = Value::text("ab");
        assert_eq!(encode(&Value::Nil), b"N");
        assert_eq!(encode(&Value::Bool(true)), b"T");
        assert_eq!(encode(&text), b"u\x02\0\0\0ab");
        assert_eq!(encode(&Value::Raw(vec![0xff])), b"s\x01\0\0\0\xff");
        assert_eq!(encode(&Value::Int(-2)), b"i\xfe\xff\xff\xff");
        assert_eq!(encode(&Value::Float(1.0)), b"g\0\0\0\0\0\0\xf0\x3f");
        let tuple = Value::Array(vec![Value::Nil]);
        assert_eq!(
            encode(&Value::Map(vec![(tuple, text)])),
            b"{(\x01\0\0\0Nu\x02\0\0\0ab0"
        );
    }

    #[test]
    fn large_integers_are_written_in_digits() {
        assert_eq!(encode(&Value::Int(1 << 31)), b"l\x03\0\0\0\0\0\0\0\x02\0");
        assert_eq!(
            encode(&Value::Int(-(1 << 31) - 1)),
            b"l\xfd\xff\xff\xff\x01\0\0\0\x02\0"
        );
    }
}
