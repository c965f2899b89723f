//! The `config` file of a repository.
//!
//! ```text
//! [repository]
//! version = 1
//! segments_per_dir = 1000
//! max_segment_size = 524288000
//! append_only = 0
//! storage_quota = 0
//! additional_free_space = 0
//! id = <64 hexadecimal digits>
//! key = <base64>
//! <tab><base64 continued>
//! ```
//!
//! An INI file as Python's ConfigParser reads and writes it: names are case-insensitive, `=` or `:`
//! separates, lines that begin with white space continue a value, `#` and `;` begin comments.
//! Sections and options not known here are kept, in their order, when the file is rewritten.

use crate::id::RepositoryId;

const SECTION: &str = "repository";

/// Segments may not become as large as this, so that offsets fit in 32 bits.
pub const MAX_SEGMENT_SIZE_LIMIT: u64 = 4_273_995_776;
/// Segment size of new repositories.
pub const DEFAULT_MAX_SEGMENT_SIZE: u64 = 524_288_000;
/// Segments per directory in new repositories.
pub const DEFAULT_SEGMENTS_PER_DIR: u32 = 1000;

/// Why a config cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It is no INI file.
    #[error("line {0} is neither a section nor an option")]
    Syntax(usize),
    /// An option or section occurs twice.
    #[error("{0} occurs twice")]
    Duplicate(String),
    /// The one section is missing.
    #[error("no repository section found")]
    NoSection,
    /// The repository is of another version.
    #[error("repository version {0} is not supported by this borg version")]
    UnsupportedVersion(i64),
    /// An option is missing.
    #[error("no option '{0}'")]
    Missing(&'static str),
    /// An option has no valid value.
    #[error("invalid value of '{name}': {value}")]
    Invalid {
        /// The option.
        name: &'static str,
        /// What it holds.
        value: String,
    },
    /// Segments would become too large.
    #[error("max_segment_size >= {MAX_SEGMENT_SIZE_LIMIT}")]
    SegmentsTooLarge,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: String,
    options: Vec<(String, String)>,
}

/// The text of the file, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigText {
    sections: Vec<Section>,
}

impl ConfigText {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is no INI file.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        // Whether the last line belongs to an option, so that the next may continue it.
        let mut in_option = false;
        for (number, line) in text.lines().enumerate() {
            let content = line.trim();
            if content.starts_with(['#', ';']) {
                continue;
            }
            let last = config.sections.last_mut();
            if content.is_empty() || line.starts_with(char::is_whitespace) {
                let option = last.and_then(|section| section.options.last_mut());
                match option.filter(|_| in_option) {
                    Some((_, value)) => {
                        value.push('\n');
                        value.push_str(content);
                    }
                    None if content.is_empty() => {}
                    None => return Err(ConfigError::Syntax(number + 1)),
                }
                continue;
            }
            in_option = config.parse_line(content, number + 1)?;
        }
        for (_, value) in config.sections.iter_mut().flat_map(|s| &mut s.options) {
            value.truncate(value.trim_end().len());
        }
        Ok(config)
    }

    fn parse_line(&mut self, content: &str, number: usize) -> Result<bool, ConfigError> {
        let section_name = content
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .map(|(name, _)| name);
        if let Some(name) = section_name {
            if self.sections.iter().any(|section| section.name == name) {
                return Err(ConfigError::Duplicate(format!("section '{name}'")));
            }
            self.sections.push(Section {
                name: name.to_owned(),
                options: Vec::new(),
            });
            return Ok(false);
        }
        let section = self.sections.last_mut();
        let (Some(section), Some((name, value))) = (section, content.split_once(['=', ':'])) else {
            return Err(ConfigError::Syntax(number));
        };
        let name = name.trim().to_lowercase();
        if name.is_empty() {
            return Err(ConfigError::Syntax(number));
        }
        if section.options.iter().any(|(known, _)| *known == name) {
            return Err(ConfigError::Duplicate(format!("option '{name}'")));
        }
        section.options.push((name, value.trim().to_owned()));
        Ok(true)
    }

    /// Writes the file as Borg does.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for section in &self.sections {
            text.push_str(&format!("[{}]\n", section.name));
            for (name, value) in &section.options {
                text.push_str(&format!("{name} = {}\n", value.replace('\n', "\n\t")));
            }
            text.push('\n');
        }
        text
    }

    fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// Tells whether there is a section of this name.
    pub fn has_section(&self, name: &str) -> bool {
        self.section(name).is_some()
    }

    /// Removes a section with its options.
    pub fn remove_section(&mut self, name: &str) {
        self.sections.retain(|section| section.name != name);
    }

    /// Returns an option of a section.
    pub fn get_in(&self, section: &str, name: &str) -> Option<&str> {
        let options = &self.section(section)?.options;
        let option = options.iter().find(|(known, _)| known == name);
        option.map(|(_, value)| value.as_str())
    }

    /// Sets an option of a section; a new one comes last, as does a new section.
    pub fn set_in(&mut self, section: &str, name: &str, value: &str) {
        if !self.has_section(section) {
            self.sections.push(Section {
                name: section.to_owned(),
                options: Vec::new(),
            });
        }
        let section = self.sections.iter_mut().find(|s| s.name == section);
        let Some(options) = section.map(|section| &mut section.options) else {
            return;
        };
        match options.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => options.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Removes an option of a section and tells whether there was one.
    pub fn remove_in(&mut self, section: &str, name: &str) -> bool {
        let section = self.sections.iter_mut().find(|s| s.name == section);
        section.is_some_and(|section| {
            let before = section.options.len();
            section.options.retain(|(known, _)| known != name);
            section.options.len() < before
        })
    }

    /// Returns an option of the repository section.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_in(SECTION, name)
    }

    /// Sets an option of the repository section; a new one comes last.
    pub fn set(&mut self, name: &str, value: &str) {
        self.set_in(SECTION, name, value);
    }

    /// Removes an option of the repository section and tells whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_in(SECTION, name)
    }
}

/// What a repository is set to, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// Segment files per directory.
    pub segments_per_dir: u32,
    /// Length at which a new segment is begun.
    pub max_segment_size: u64,
    /// Nothing is ever removed.
    pub append_only: bool,
    /// Bytes that may be used; none means no limit.
    pub storage_quota: Option<u64>,
    /// Bytes that shall remain free.
    pub additional_free_space: u64,
    /// The identity.
    pub id: RepositoryId,
    /// Last segment of a partial check.
    pub last_segment_checked: Option<u32>,
}

impl RepositoryConfig {
    /// The settings of a new repository.
    pub fn new(id: RepositoryId) -> Self {
        Self {
            segments_per_dir: DEFAULT_SEGMENTS_PER_DIR,
            max_segment_size: DEFAULT_MAX_SEGMENT_SIZE,
            append_only: false,
            storage_quota: None,
            additional_free_space: 0,
            id,
            last_segment_checked: None,
        }
    }

    /// Makes the file of a new repository.
    pub fn to_config(&self) -> ConfigText {
        let mut text = ConfigText::default();
        text.set("version", "1");
        text.set("segments_per_dir", &self.segments_per_dir.to_string());
        text.set("max_segment_size", &self.max_segment_size.to_string());
        text.set("append_only", if self.append_only { "1" } else { "0" });
        let quota = self.storage_quota.unwrap_or(0);
        text.set("storage_quota", &quota.to_string());
        let free = self.additional_free_space;
        text.set("additional_free_space", &free.to_string());
        text.set("id", &self.id.to_string());
        text
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// When a needed one is missing, or one has no valid value.
    pub fn from_config(text: &ConfigText) -> Result<Self, ConfigError> {
        if !text.has_section(SECTION) {
            return Err(ConfigError::NoSection);
        }
        let version = number(text, "version")?.ok_or(ConfigError::Missing("version"))?;
        if version != 1 {
            return Err(ConfigError::UnsupportedVersion(version));
        }
        let max_segment_size =
            bytes(text, "max_segment_size")?.ok_or(ConfigError::Missing("max_segment_size"))?;
        if max_segment_size >= MAX_SEGMENT_SIZE_LIMIT {
            return Err(ConfigError::SegmentsTooLarge);
        }
        let per_dir =
            number(text, "segments_per_dir")?.ok_or(ConfigError::Missing("segments_per_dir"))?;
        let segments_per_dir = u32::try_from(per_dir)
            .ok()
            .filter(|&number| number > 0)
            .ok_or_else(|| invalid(text, "segments_per_dir"))?;
        let id = text.get("id").ok_or(ConfigError::Missing("id"))?;
        let id = RepositoryId::from_hex(id).map_err(|_| invalid(text, "id"))?;
        let last_checked = number(text, "last_segment_checked")?;
        Ok(Self {
            segments_per_dir,
            max_segment_size,
            append_only: boolean(text, "append_only")?.unwrap_or(false),
            storage_quota: bytes(text, "storage_quota")?.filter(|&quota| quota > 0),
            additional_free_space: bytes(text, "additional_free_space")?.unwrap_or(0),
            id,
            last_segment_checked: last_checked.and_then(|number| u32::try_from(number).ok()),
        })
    }
}

fn invalid(text: &ConfigText, name: &'static str) -> ConfigError {
    ConfigError::Invalid {
        name,
        value: text.get(name).unwrap_or_default().to_owned(),
    }
}

fn number(text: &ConfigText, name: &'static str) -> Result<Option<i64>, ConfigError> {
    text.get(name)
        .map(|value| value.parse().map_err(|_| invalid(text, name)))
        .transpose()
}

fn boolean(text: &ConfigText, name: &'static str) -> Result<Option<bool>, ConfigError> {
    let Some(value) = text.get(name) else {
        return Ok(None);
    };
    match value.to_lowercase().as_str() {
        "1" | "yes" | "true" | "on" => Ok(Some(true)),
        "0" | "no" | "false" | "off" => Ok(Some(false)),
        _ => Err(invalid(text, name)),
    }
}

fn bytes(text: &ConfigText, name: &'static str) -> Result<Option<u64>, ConfigError> {
    text.get(name)
        .map(|value| parse_bytes(value).ok_or_else(|| invalid(text, name)))
        .transpose()
}

/// Reads a number of bytes such as `500M`; suffixes are powers of 1000, fractions are allowed.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let power = match text.chars().last()?.to_ascii_uppercase() {
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        'P' => 5,
        _ => 0,
    };
    if power == 0
        && let Ok(bytes) = text.trim().parse()
    {
        return Some(bytes);
    }
    let digits = if power == 0 {
        text
    } else {
        text.get(..text.len() - 1)?
    };
    let amount: f64 = digits.trim().parse().ok()?;
    let bytes = amount * 1000f64.powi(power);
    (0.0..1.8e19).contains(&bytes).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn written_by_borg() -> String {
        format!(
            "[repository]\nversion = 1\nsegments_per_dir = 1000\nmax_segment_size = 524288000\n\
             append_only = 0\nstorage_quota = 0\nadditional_free_space = 0\nid = {ID}\n\
             key = hqlhbGdvcml0aG0\n\tAAAA\n\tBBBB==\n\n"
        )
    }

    #[test]
    fn a_config_is_rewritten_as_it_was() {
        let config = ConfigText::parse(&written_by_borg()).unwrap();
        assert_eq!(config.to_text(), written_by_borg());
        assert_eq!(config.get("key"), Some("hqlhbGdvcml0aG0\nAAAA\nBBBB=="));
        let id = RepositoryId::from_hex(ID).unwrap();
        let settings = RepositoryConfig::from_config(&config).unwrap();
        assert_eq!(settings, RepositoryConfig::new(id));
        let mut new = settings.to_config();
        new.set("key", config.get("key").unwrap());
        assert_eq!(new, config);
    }

    #[test]
    fn unknown_options_and_sections_are_kept() {
        let text = "[repository]\nid = x\nnew option = 7\n\n[other]\na = b\n\n";
        let mut config = ConfigText::parse(text).unwrap();
        config.set("last_segment_checked", "12");
        assert!(config.remove("last_segment_checked"));
        assert!(!config.remove("last_segment_checked"));
        config.set("id", "y");
        assert_eq!(config.to_text(), text.replace("id = x", "id = y"));
    }

    #[test]
    fn hand_written_forms_are_read() {
        let text = format!(
            "# comment\n[repository]\nVersion: 1\n; another\nsegments_per_dir=7\n\
             max_segment_size = 5M\nappend_only = Yes\nstorage_quota = 1.5G\n\
             additional_free_space = 2K\nid={ID}\n"
        );
        let config = ConfigText::parse(&text).unwrap();
        let settings = RepositoryConfig::from_config(&config).unwrap();
        assert_eq!(settings.segments_per_dir, 7);
        assert_eq!(settings.max_segment_size, 5_000_000);
        assert!(settings.append_only);
        assert_eq!(settings.storage_quota, Some(1_500_000_000));
        assert_eq!(settings.additional_free_space, 2000);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let with = |from: &str, to: &str| {
            let text = written_by_borg().replace(from, to);
            ConfigText::parse(&text).and_then(|config| RepositoryConfig::from_config(&config))
        };
        assert_eq!(with("[repository]", "[x]"), Err(ConfigError::NoSection));
        assert_eq!(
            with("version = 1", "version = 2"),
            Err(ConfigError::UnsupportedVersion(2))
        );
        assert_eq!(with("524288000", "5G"), Err(ConfigError::SegmentsTooLarge));
        assert_eq!(with("id = ", "no = "), Err(ConfigError::Missing("id")));
        assert_eq!(with("[repository]", ""), Err(ConfigError::Syntax(2)));
        assert_eq!(
            with("segments_per_dir = 1000", "segments_per_dir = 0").unwrap_err(),
            ConfigError::Invalid {
                name: "segments_per_dir",
                value: "0".to_owned()
            }
        );
        assert_eq!(
            with("append_only", "id"),
            Err(ConfigError::Duplicate("option 'id'".to_owned()))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(?s).{0,80}", size in "[0-9.eKMGT+-]{0,8}") {
            if let Ok(config) = ConfigText::parse(&text) {
                prop_assert!(ConfigText::parse(&config.to_text()).is_ok() || text.contains('\r'));
            }
            parse_bytes(&size);
        }
    }
}
