//! Paths and patterns as text.
//!
//! A path is UTF-8 but for the odd byte. Borg shows such a byte to its patterns as one character of
//! its own (a lone surrogate, which Rust texts cannot hold). Here it becomes a character of the
//! last private plane, which no path has for a reason.

/// Stands for the invalid byte 0x80; the others follow. The last one is U+10FF7F.
const FIRST: u32 = 0x10_FF00;

/// Appends `bytes` as text.
pub(super) fn push_text(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().filter_map(|&byte| stand_in(byte)));
    }
}

fn stand_in(byte: u8) -> Option<char> {
    char::from_u32(FIRST + u32::from(byte & 0x7f))
}

/// Returns `bytes` as text.
pub(super) fn to_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    push_text(&mut out, bytes);
    out
}

/// Returns the bytes of a text made by [`to_text`].
pub(super) fn to_bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(FIRST) {
            Some(low @ 0..0x80) => out.push(0x80 | low.to_le_bytes()[0]),
            _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_one_character_and_comes_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = to_text(&bytes);
        assert_eq!(text.chars().count(), 256);
        assert_eq!(to_bytes(&text), bytes);
    }

    #[test]
    fn utf8_stays_as_it_is() {
        let text = "päth/\u{10FFFD}";
        assert_eq!(to_text(text.as_bytes()), text);
        assert_eq!(to_bytes(text), text.as_bytes());
    }
}
