//! `re:` patterns: from the syntax of Python's `re` to that of the `regex` and `fancy-regex` crates.
//!
//! Most of it is the same. Different are: escapes (`\Z`, octal numbers, `\uXXXX`, escaped letters),
//! sets (a `[`, `&&` or `--` in one means nothing special in Python), `{` as a literal, `$` before a
//! final newline, comments and some flags. Look-around, back references, atomic groups and
//! possessive repeats need `fancy-regex`.

use super::glob::Class;
use std::fmt::Write as _;

/// A translated expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated {
    /// In the syntax both crates share.
    pub(super) text: String,
    /// Has something in it that only `fancy-regex` can do.
    pub(super) fancy: bool,
}

/// Translates an expression; `Err` says what is wrong with it.
pub(super) fn translate(pattern: &str) -> Result<Translated, String> {
    let pattern: Vec<char> = pattern.chars().collect();
    let mut translator = Translator {
        rest: &pattern,
        last: Last::Nothing,
        begun: false,
        global_flags: false,
        out: String::new(),
        fancy: false,
        verbose: false,
        ascii: false,
        multiline: false,
    };
    while let Some(c) = translator.next() {
        translator.step(c)?;
        translator.begun |= !std::mem::take(&mut translator.global_flags);
    }
    Ok(Translated {
        text: translator.out,
        fancy: translator.fancy,
    })
}

/// What stands before the current place, as far as repeats are concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
    Repeat,
}

struct Translator<'a> {
    rest: &'a [char],
    last: Last,
    begun: bool,
    global_flags: bool,
    out: String,
    fancy: bool,
    verbose: bool,
    ascii: bool,
    multiline: bool,
}

/// One member of a set, or one escape outside of it.
enum Member {
    Char(char),
    /// `d`, `D`, `s`, `S`, `w` or `W`.
    Kind(char),
}

impl Translator<'_> {
    fn next(&mut self) -> Option<char> {
        let (&c, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(c)
    }

    fn eat(&mut self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        match self.rest.strip_prefix(text.as_slice()) {
            None => false,
            Some(rest) => {
                self.rest = rest;
                true
            }
        }
    }

    fn push_code(&mut self, c: char) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, "\\x{{{:x}}}", u32::from(c));
    }

    fn step(&mut self, c: char) -> Result<(), String> {
        let before = std::mem::replace(&mut self.last, Last::Atom);
        match c {
            '\\' => self.escape()?,
            '[' => self.set()?,
            '(' => self.group(before)?,
            '*' | '+' | '?' => self.repeat(before, &c.to_string())?,
            '{' => match self.counted_repeat() {
                None => self.push_code('{'),
                Some(repeat) => self.repeat(before, &repeat)?,
            },
            '|' | '^' | '$' => {
                self.last = Last::Nothing;
                match c {
                    '$' if !self.multiline => self.out.push_str(r"(?:\n?\z)"),
                    c => self.out.push(c),
                }
            }
            ')' | '.' => self.out.push(c),
            '#' if self.verbose => {
                self.last = before;
                while self.next().is_some_and(|c| c != '\n') {}
            }
            c if self.verbose && c.is_whitespace() => self.last = before,
            c if c.is_alphanumeric() => self.out.push(c),
            c => self.push_code(c),
        }
        Ok(())
    }

    /// Reads what follows a `{` if that makes it a repeat.
    fn counted_repeat(&mut self) -> Option<String> {
        let end = self.rest.iter().position(|&c| c == '}')?;
        let inner: String = self.rest.get(..end)?.iter().collect();
        let (least, most) = match inner.split_once(',') {
            None => (inner.as_str(), inner.as_str()),
            Some(bounds) => bounds,
        };
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if inner.is_empty() || !digits(least) || !digits(most) {
            return None;
        }
        self.rest = self.rest.get(end + 1..)?;
        let least = if least.is_empty() { "0" } else { least };
        Some(format!("{{{least},{most}}}"))
    }

    /// A `?` makes a repeat lazy, a `+` makes it possessive.
    fn repeat(&mut self, before: Last, repeat: &str) -> Result<(), String> {
        match before {
            Last::Nothing => return Err("nothing to repeat".to_owned()),
            Last::Repeat => return Err("multiple repeat".to_owned()),
            Last::Atom => self.last = Last::Repeat,
        }
        self.out.push_str(repeat);
        if self.eat("?") {
            self.out.push('?');
        } else if self.eat("+") {
            self.out.push('+');
            self.fancy = true;
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let number: String = self.rest.iter().take(3).collect();
        let octal = |c: char| ('0'..='7').contains(&c);
        if number.starts_with(|c: char| ('1'..='9').contains(&c))
            && !(number.len() == 3 && number.chars().all(octal))
        {
            self.fancy = true;
            self.out.push_str("(?:\\");
            for digit in number.chars().take(2).take_while(char::is_ascii_digit) {
                self.out.push(digit);
                self.next();
            }
            self.out.push(')');
            return Ok(());
        }
        if self.eat("Z") {
            self.last = Last::Nothing;
            self.out.push_str(r"\z");
        } else if let [c @ ('A' | 'b' | 'B'), rest @ ..] = self.rest {
            self.rest = rest;
            self.last = Last::Nothing;
            self.out.push('\\');
            self.out.push(*c);
        } else {
            match self.member()? {
                Member::Char(c) => self.push_code(c),
                Member::Kind(kind) => {
                    let kind = self.kind(kind);
                    self.out.push_str(&format!("[{kind}]"));
                }
            }
        }
        Ok(())
    }

    /// Reads an escape that means a character or a kind of characters.
    fn member(&mut self) -> Result<Member, String> {
        let c = self.next().ok_or("bad escape (end of pattern)")?;
        let c = match c {
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => return Ok(Member::Kind(c)),
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            'x' => self.number(16, 2, 2)?,
            'u' => self.number(16, 4, 4)?,
            'U' => self.number(16, 8, 8)?,
            '0'..='7' => {
                let first = c.to_digit(8).unwrap_or_default();
                let rest: String = self.rest.iter().take(2).collect();
                let rest = rest.chars().map_while(|c| c.to_digit(8));
                let (mut value, mut count) = (first, 0);
                for digit in rest {
                    value = value * 8 + digit;
                    count += 1;
                }
                self.rest = self.rest.get(count..).unwrap_or_default();
                let value = u8::try_from(value).map_err(|_| "octal escape too large")?;
                char::from(value)
            }
            c if c.is_ascii_alphanumeric() => return Err(format!("bad escape \\{c}")),
            c => c,
        };
        Ok(Member::Char(c))
    }

    fn number(&mut self, radix: u32, least: usize, most: usize) -> Result<char, String> {
        let digits: String = self.rest.iter().take(most).collect();
        let digits: String = digits.chars().take_while(|c| c.is_digit(radix)).collect();
        if digits.len() < least {
            return Err("incomplete escape".to_owned());
        }
        self.rest = self.rest.get(digits.len()..).unwrap_or_default();
        let value = u32::from_str_radix(&digits, radix).ok();
        let c = value.and_then(char::from_u32);
        c.ok_or_else(|| format!("bad escape: no character {digits}"))
    }

    /// What stands for a kind of characters inside a set.
    fn kind(&self, kind: char) -> &'static str {
        match (kind, self.ascii) {
            ('d', true) => "0-9",
            ('D', true) => "[^0-9]",
            ('d', false) => r"\d",
            ('D', false) => r"\D",
            ('s', _) => r"\s\x1c-\x1f",
            ('S', _) => r"[^\s\x1c-\x1f]",
            ('w', true) => "0-9A-Za-z_",
            ('w', false) => r"\p{L}\p{N}_",
            (_, true) => "[^0-9A-Za-z_]",
            (_, false) => r"[^\p{L}\p{N}_]",
        }
    }

    fn set(&mut self) -> Result<(), String> {
        let mut class = Class {
            negated: self.eat("^"),
            ranges: Vec::new(),
        };
        let mut kinds = String::new();
        let mut first = true;
        loop {
            let Some(begin) = self.set_member()? else {
                if first {
                    // A `]` at the beginning is a member.
                    class.ranges.push((']', ']'));
                    first = false;
                    continue;
                }
                break;
            };
            first = false;
            let is_range = matches!(self.rest, ['-', next, ..] if *next != ']');
            match begin {
                Member::Kind(_) if is_range => return Err("bad character range".to_owned()),
                Member::Kind(kind) => kinds.push_str(self.kind(kind)),
                Member::Char(low) if is_range => {
                    self.next();
                    match self.set_member()? {
                        Some(Member::Char(high)) if low <= high => class.ranges.push((low, high)),
                        _ => return Err("bad character range".to_owned()),
                    }
                }
                Member::Char(c) => class.ranges.push((c, c)),
            }
        }
        if class.ranges.is_empty() {
            let caret = if class.negated { "^" } else { "" };
            self.out.push_str(&format!("[{caret}{kinds}]"));
        } else {
            class.write_regex(&mut self.out);
            self.out.pop();
            self.out.push_str(&kinds);
            self.out.push(']');
        }
        Ok(())
    }

    /// Reads one member of a set; none at its end.
    fn set_member(&mut self) -> Result<Option<Member>, String> {
        match self.next() {
            None => Err("unterminated character set".to_owned()),
            Some(']') => Ok(None),
            Some('\\') => self.member().map(Some),
            Some(c) => Ok(Some(Member::Char(c))),
        }
    }

    fn group(&mut self, before: Last) -> Result<(), String> {
        self.last = Last::Nothing;
        if !self.eat("?") {
            self.out.push('(');
            return Ok(());
        }
        if self.eat("#") {
            while self.next().ok_or("missing ), unterminated comment")? != ')' {}
            self.last = before;
            return Ok(());
        }
        for plain in [":", "P<"] {
            if self.eat(plain) {
                self.out.push_str("(?");
                self.out.push_str(plain);
                return self.copy_name(plain == "P<", '>');
            }
        }
        for fancy in ["P=", "("] {
            if self.eat(fancy) {
                self.fancy = true;
                self.out.push_str("(?");
                self.out.push_str(fancy);
                if fancy == "P=" {
                    self.last = Last::Atom;
                }
                return self.copy_name(true, ')');
            }
        }
        for fancy in ["=", "!", "<=", "<!", ">"] {
            if self.eat(fancy) {
                self.fancy = true;
                self.out.push_str("(?");
                self.out.push_str(fancy);
                return Ok(());
            }
        }
        self.flags()
    }

    fn copy_name(&mut self, named: bool, end: char) -> Result<(), String> {
        let mut copied = !named;
        while !copied {
            let c = self.next().ok_or("missing group name")?;
            self.out.push(c);
            copied = c == end;
        }
        Ok(())
    }

    /// `(?ims)` for all of the expression, `(?i-s:` for a group.
    fn flags(&mut self) -> Result<(), String> {
        let (mut flags, mut minus) = (String::new(), false);
        loop {
            match self.next() {
                Some(c @ ('i' | 's')) => flags.push(c),
                Some('m') => {
                    self.multiline |= !minus;
                    flags.push('m');
                }
                Some('x') => self.verbose |= !minus,
                Some('a') => self.ascii |= !minus,
                Some('u' | 'L') => {}
                Some('-') if !minus => {
                    minus = true;
                    flags.push('-');
                }
                Some(end @ (')' | ':')) => {
                    if end == ')' && self.begun {
                        return Err("global flags not at the start of the expression".to_owned());
                    }
                    self.global_flags = end == ')';
                    let flags = flags.trim_end_matches('-');
                    if !(flags.is_empty() && end == ')') {
                        self.out.push_str(&format!("(?{flags}{end}"));
                    }
                    return Ok(());
                }
                _ => return Err("unknown extension or flag after (?".to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (expression, path, found by Python's `re.search`)
    const FOUND: &[(&str, &str, bool)] = &[
        (r"\.pyc\Z", "a/b.pyc", true),
        (r"\.pyc$", "a/b.pyc\n", true),
        (r"\.pyc$", "a/b.pyc\n\n", false),
        (r"^a{2}{", "aa{", true),
        (r"a{,2}b{}", "b{}", true),
        (r"[[a]x", "[x", true),
        (r"[]a]+$", "]a]", true),
        (r"[^]]", "]", false),
        (r"[a&&b]", "&", true),
        (r"[a-]$", "-", true),
        (r"[\w-]$", "é", true),
        (r"[\d\s]", "x\x1c", true),
        (r"\x41\u0042\103\0", "ABC\0", true),
        (r"(?i)HOME", "home/x", true),
        (r"(?x) ho me # comment", "home", true),
        (r"(?a)^\w+$", "é", false),
        (r"(?#note)^a", "a", true),
        (r"(?P<x>a)(?P=x)", "aa", true),
        (r"(a|b)\1", "ab", false),
        (r"^(?!home/keep)home/", "home/keep/x", false),
        (r"^(?!home/keep)home/", "home/x", true),
        (r"(?<=a)b", "ab", true),
        (r"a++a", "aaa", false),
        (r"\<\ \é", "< é", true),
        (r"(?>a|ab)c", "abc", false),
    ];

    #[test]
    fn expressions_mean_what_they_mean_in_python() {
        for &(pattern, path, found) in FOUND {
            let translated = translate(pattern).unwrap();
            let regex = fancy_regex::Regex::new(&translated.text).unwrap();
            assert_eq!(regex.is_match(path).unwrap(), found, "{pattern} {path}");
            let plain = regex::Regex::new(&translated.text);
            assert_eq!(plain.is_err(), translated.fancy && !pattern.contains("++"));
        }
    }

    #[test]
    fn errors_of_python_are_errors() {
        for pattern in [
            r"\q", r"a**", r"[b-a]", r"[a", r"\x4", r"(?z)", r"(?P<a", "\\",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }
}
