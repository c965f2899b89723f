//! `debug dump-repo-objs` and `search-repo-objs`: all objects of a repository, decrypted.

use std::ffi::OsString;
use std::sync::Arc;

use fastness_format::crypto::Crypto;
use fastness_format::id::ChunkId;
use fastness_format::segment::Tag;
use fastness_repository::Repository;
use fastness_repository::local::LocalRepository;
use fastness_repository::local::lock::LockKind;

use super::plaintext;
use crate::access::Place;
use crate::commands::Action;
use crate::context::Context;
use crate::error::CommandError;
use crate::options::CommonOptions;
use crate::options::values::positive;

/// Write all objects into files, decrypted
///
/// They come into the current directory. The index of the repository must be right.
#[derive(Clone, Debug, clap::Parser)]
pub struct DumpRepoObjs {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// Everything in the segments: also what is deleted, superseded or not committed
    #[arg(long)]
    ghost: bool,
    /// With --ghost, only the segment with this number
    #[arg(long, value_name = "SEG", value_parser = positive)]
    segment: Option<u64>,
    /// With --ghost, only the entry at this offset
    #[arg(long, value_name = "OFFS", value_parser = positive)]
    offset: Option<u64>,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Search for bytes in all objects, decrypted
///
/// The index of the repository must be right. What is searched for may lie across the border of
/// two objects that follow each other.
#[derive(Clone, Debug, clap::Parser)]
pub struct SearchRepoObjs {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    location: OsString,
    /// hex: with hexadecimal digits or str: with text
    #[arg(value_name = "WANTED")]
    wanted: String,
    /// Options of all commands.
    #[command(flatten)]
    common: CommonOptions,
}

/// Ids that are asked for at once.
const LISTED: usize = 10_000;

/// Hands all objects to `visit`, in the order of the log.
fn each_object(
    context: &mut Context<'_>,
    place: &Place,
    repository: &dyn Repository,
    mut visit: impl FnMut(&mut Context<'_>, usize, ChunkId, Vec<u8>) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let mut crypto: Option<Arc<Crypto>> = None;
    let mut marker: Option<ChunkId> = None;
    let mut number = 0;
    loop {
        let ids = repository.scan(Some(LISTED), marker.as_ref())?;
        repository.prefetch(&ids);
        for id in &ids {
            let stored = repository.get(id)?;
            let crypto = match &crypto {
                Some(crypto) => Arc::clone(crypto),
                None => {
                    let opened = context.key_without_manifest(place, repository, &stored)?;
                    Arc::clone(crypto.insert(opened))
                }
            };
            visit(context, number, *id, plaintext(&crypto, id, &stored)?)?;
            number += 1;
        }
        match ids.last() {
            Some(last) => marker = Some(*last),
            None => return Ok(()),
        }
    }
}

impl Action for DumpRepoObjs {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let lock = Some(LockKind::Shared);
        if self.ghost {
            let mut repository = context.open_local(&place, lock)?;
            self.ghosts(context, &place, &repository)?;
            repository.close()?;
        } else {
            let mut repository = context.open_repository(&place, lock)?;
            each_object(
                context,
                &place,
                &*repository,
                |context, number, id, data| context.dump(&format!("{number:08}_{id}.obj"), &data),
            )?;
            repository.close()?;
        }
        context.print("Done.\n")
    }
}

impl DumpRepoObjs {
    fn ghosts(
        &self,
        context: &mut Context<'_>,
        place: &Place,
        repository: &LocalRepository,
    ) -> Result<(), CommandError> {
        let small =
            |number: Option<u64>| number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let mut crypto: Option<Arc<Crypto>> = None;
        let mut number = 0;
        repository.low_level(small(self.segment), small(self.offset), |found| {
            let (id, segment, offset) = (found.entry.id, found.segment, found.entry.offset.0);
            let place_of = format!("{number:08}_{segment}_{offset}");
            number += 1;
            let (name, data) = match found.entry.tag {
                Tag::Commit => (format!("{place_of}_commit.obj"), Vec::new()),
                Tag::Delete => (format!("{place_of}_del_{id}.obj"), Vec::new()),
                Tag::Put => {
                    let stored = found.value.unwrap_or_default();
                    let crypto = match &crypto {
                        Some(crypto) => Arc::clone(crypto),
                        None => {
                            let opened =
                                context.key_without_manifest(place, repository, &stored)?;
                            Arc::clone(crypto.insert(opened))
                        }
                    };
                    let data = plaintext(&crypto, &id, &stored)?;
                    (format!("{place_of}_put_{id}.obj"), data)
                }
            };
            context.dump(&name, &data)
        })
    }
}

/// Bytes that are shown before and after what was found.
const AROUND: usize = 32;
/// Objects after which it is told how many were searched.
const TOLD: usize = 10_000;

impl Action for SearchRepoObjs {
    fn common(&self) -> &CommonOptions {
        &self.common
    }

    fn run(self: Box<Self>, context: &mut Context<'_>) -> Result<(), CommandError> {
        let place = context.repository_place(Some(&self.location))?;
        let mut repository = context.open_repository(&place, Some(LockKind::Shared))?;
        let wanted = search_term(&self.wanted).ok_or_else(|| {
            CommandError::command("search term needs to be hex:123abc or str:foobar style")
        })?;
        let mut last = (ChunkId::MANIFEST, Vec::new());
        each_object(
            context,
            &place,
            &*repository,
            |context, number, id, data| {
                let reach = wanted.len() - 1;
                let border = border(&last.1, &data, reach);
                if find(&border, &wanted).is_some() {
                    let around = self::border(&last.1, &data, reach + AROUND);
                    let info = format!("{number} {} | {id}", last.0);
                    context.print(finding(&info, &wanted, &around))?;
                }
                let count = count(&data, &wanted);
                if count > 0 {
                    context.print(finding(&format!("{number} {id} #{count}"), &wanted, &data))?;
                }
                last = (id, data);
                if (number + 1) % TOLD == 0 {
                    context.print(format!("{} objects processed.\n", number + 1))?;
                }
                Ok(())
            },
        )?;
        context.print("Done.\n")?;
        Ok(repository.close()?)
    }
}

fn search_term(text: &str) -> Option<Vec<u8>> {
    let bytes = match (text.strip_prefix("hex:"), text.strip_prefix("str:")) {
        (Some(digits), _) => data_encoding::HEXLOWER_PERMISSIVE
            .decode(digits.as_bytes())
            .ok()?,
        (_, Some(text)) => text.as_bytes().to_vec(),
        _ => return None,
    };
    Some(bytes).filter(|bytes| !bytes.is_empty())
}

/// The end of one object and the beginning of the next.
fn border(before: &[u8], after: &[u8], reach: usize) -> Vec<u8> {
    let end = before
        .get(before.len().saturating_sub(reach)..)
        .unwrap_or_default();
    let begin = after.get(..reach).unwrap_or(after);
    [end, begin].concat()
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    data.windows(wanted.len())
        .position(|window| window == wanted)
}

/// How often it occurs, without overlaps.
fn count(data: &[u8], wanted: &[u8]) -> usize {
    let (mut rest, mut count) = (data, 0);
    while let Some(at) = find(rest, wanted) {
        count += 1;
        rest = rest.get(at + wanted.len()..).unwrap_or_default();
    }
    count
}

/// The line about the first place where it was found.
fn finding(info: &str, wanted: &[u8], data: &[u8]) -> String {
    let at = find(data, wanted).unwrap_or_default();
    let end = at + wanted.len();
    let before = data.get(at.saturating_sub(AROUND)..at).unwrap_or_default();
    let after = data
        .get(end..data.len().min(end + AROUND))
        .unwrap_or_default();
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    format!(
        "{info}: {} {} {} == {} {} {}\n",
        hex(before),
        hex(wanted),
        hex(after),
        literal(before),
        literal(wanted),
        literal(after)
    )
}

/// Bytes as Python writes them.
fn literal(bytes: &[u8]) -> String {
    let quote = match bytes.contains(&b'\'') && !bytes.contains(&b'"') {
        true => '"',
        false => '\'',
    };
    let mut text = format!("b{quote}");
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            byte if char::from(*byte) == quote => {
                text.push('\\');
                text.push(quote);
            }
            0x20..=0x7e => text.push(char::from(*byte)),
            byte => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text.push(quote);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_by_python() {
        assert_eq!(literal(b"a'\n\x00\xff"), r#"b"a'\n\x00\xff""#);
        assert_eq!(literal(b"'\""), r#"b'\'"'"#);
    }

    #[test]
    fn terms_have_a_kind_in_front() {
        assert_eq!(search_term("hex:00fF"), Some(vec![0, 255]));
        assert_eq!(search_term("str:ab"), Some(b"ab".to_vec()));
        for text in ["ab", "hex:0", "hex:", "str:"] {
            assert_eq!(search_term(text), None, "{text}");
        }
    }

    #[test]
    fn borders_reach_into_both_objects() {
        assert_eq!(border(b"abc", b"def", 2), b"bcde");
        assert_eq!(border(b"a", b"", 5), b"a");
        assert_eq!(count(b"aaaaa", b"aa"), 2);
    }
}
