//! Kinds of trouble, in words that monitoring can count.
//!
//! They are few on purpose: one says who has to do what, the text beside it says the rest.

/// Returns the kind of an error of Borg by its code in the modern scheme.
pub fn kind_of_code(code: u8) -> &'static str {
    match code {
        14 | 20 => "space",
        10..=13 | 15..=19 | 21..=27 => "repository",
        30..=32 => "archive",
        40..=48 => "key",
        50..=53 => "passphrase",
        60..=64 => "security",
        70..=75 => "lock",
        80..=87 => "connection",
        90..=99 => "integrity",
        1 | 100..=127 => "source",
        128..=255 => "signal",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_who_has_to_do_something() {
        let codes = [13, 14, 52, 73, 80, 90, 104, 130, 2];
        let kinds = codes.map(kind_of_code);
        let expected = [
            "repository",
            "space",
            "passphrase",
            "lock",
            "connection",
            "integrity",
            "source",
            "signal",
            "other",
        ];
        assert_eq!(kinds, expected);
    }
}
