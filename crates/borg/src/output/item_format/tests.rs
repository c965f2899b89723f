//! Lines and JSON against those of real Borg 1.4.5 for the same items (`testdata/formats`).

use super::*;
use fastness_format::id::ChunkId;
use fastness_format::item::{ChunkRef, Item};
use fastness_format::msgpack::Reader;

const GOLDEN: &str = include_str!("../../../../../testdata/formats/items.json");
const TIME: i64 = 1_700_000_000_123_456_789;

fn chunk(id: u8, size: u32, csize: u32) -> ChunkRef {
    ChunkRef {
        id: ChunkId::new([id; 32]),
        size,
        csize,
    }
}

fn item(path: &[u8], mode: u32, owner: (u32, &str), group: (u32, &str), mtime: i64) -> Item {
    Item {
        path: path.to_vec(),
        mode,
        uid: Some(owner.0),
        gid: Some(group.0),
        user: Some(owner.1.into()),
        group: Some(group.1.into()),
        mtime: Some(mtime),
        ..Item::default()
    }
}

/// The items listed in the golden file, see its README.
fn items() -> Vec<Item> {
    let (root, wheel) = ((0, "root"), (0, "root"));
    let mut items = vec![
        item(
            b"home/a.txt",
            0o100644,
            (1000, "alice"),
            (100, "users"),
            TIME,
        ),
        item("home/ünï".as_bytes(), 0o104755, root, wheel, 1),
        item(b"home/link", 0o120777, (4711, ""), (4712, ""), TIME),
        item(b"home/hard", 0o100600, (1, "daemon"), (2, "bin"), TIME),
        item(b"home", 0o041777, root, wheel, -5),
        item(
            b"fifo",
            0o010644,
            (0, "verylongusername"),
            (0, "verylonggroup"),
            TIME,
        ),
        item(b"dev/sda", 0o060660, root, (6, "disk"), 1 << 62),
        item(b"dev/null", 0o020666, root, wheel, TIME),
        item(b"broken", 0o106000, root, wheel, TIME),
        item(b"big", 0o102070, root, wheel, TIME),
    ];
    items[0].ctime = Some(TIME + 1_000_000_000);
    items[0].atime = Some(TIME + 2_000_000_000);
    items[0].chunks = Some(vec![chunk(1, 10, 7), chunk(2, 20, 15), chunk(2, 20, 15)]);
    items[0].size = Some(50);
    items[1].path.push(0xff);
    items[1].chunks = Some(vec![chunk(3, 3, 9)]);
    items[1].bsdflags = Some(64);
    items[2].source = Some(b"target\xfe".to_vec());
    items[3].source = Some(b"home/a.txt".to_vec());
    items[8].chunks = Some(vec![chunk(3, 3, 9)]);
    items[8].chunks_healthy = Some(vec![chunk(1, 3, 9)]);
    items[8].size = Some(3);
    items[9].chunks = Some(Vec::new());
    items[9].size = Some(123_456_789_012);
    items
}

/// The chunk index of the golden file: chunk 3 is used elsewhere too.
struct Facts;

impl ItemFacts for Facts {
    fn hashes(&mut self, _: &ItemRef<'_>, names: &[&str]) -> Result<Vec<String>, CommandError> {
        Ok(names.iter().map(|name| format!("<{name}>")).collect())
    }

    fn unique_chunks(&mut self, item: &ItemRef<'_>) -> Result<UniqueChunks, CommandError> {
        let mut unique = UniqueChunks::default();
        for chunk in item.chunks.into_iter().flatten() {
            if chunk.id != ChunkId::new([3; 32]) {
                unique.count += 1;
                unique.size += u64::from(chunk.size);
                unique.csize += u64::from(chunk.csize);
            }
        }
        Ok(unique)
    }
}

fn golden() -> serde_json::Value {
    serde_json::from_str(GOLDEN).unwrap()
}

fn format(text: &str) -> ItemFormat {
    let zone = TimeZone::posix(golden()["zone"].as_str().unwrap()).unwrap();
    ItemFormat::new(text, b"arch\xfd", &"ab".repeat(32), &zone).unwrap()
}

fn with_item<T>(item: &Item, run: impl FnOnce(&ItemRef<'_>) -> T) -> T {
    let mut bytes = Vec::new();
    item.encode(&mut bytes);
    run(&ItemRef::decode(&mut Reader::new(&bytes)).unwrap())
}

fn line(format: &ItemFormat, item: &Item) -> Vec<u8> {
    let mut out = Vec::new();
    with_item(item, |item| {
        format.write(&mut out, item, &mut Facts).unwrap()
    });
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn lines_are_those_of_borg() {
    let golden = golden();
    let rows = golden["lines"].as_array().unwrap();
    assert!(rows.len() >= 7);
    for row in rows {
        let text = row[0].as_str().unwrap();
        let format = format(text);
        for (item, expected) in items().iter().zip(row[1].as_array().unwrap()) {
            let made = line(&format, item);
            let readable = String::from_utf8_lossy(&made);
            assert_eq!(hex(&made), expected.as_str().unwrap(), "{text}: {readable}");
        }
    }
}

#[test]
fn default_format_is_the_documented_one() {
    let documented = "{mode} {user:6} {group:6} {size:8d} {mtime} {path}{extra}{NEWLINE}";
    for item in items() {
        let default = line(&format(DEFAULT_ITEM_FORMAT), &item);
        assert_eq!(default, line(&format(documented), &item));
    }
}

#[test]
fn json_lines_are_those_of_borg() {
    let format = format(&format!("{DEFAULT_ITEM_FORMAT}{{archivename}}{{dsize}}"));
    // The keys asked for have no order in Borg.
    let parts = |line: &str| {
        let mut parts: Vec<_> = line
            .trim_matches(['{', '}'])
            .split(", ")
            .map(str::to_owned)
            .collect();
        parts.get_mut(12..).unwrap().sort();
        parts
    };
    for (item, expected) in items().iter().zip(golden()["json"].as_array().unwrap()) {
        let made = with_item(item, |item| format.json(item, &mut Facts).unwrap());
        assert_eq!(parts(&made.to_line()), parts(expected.as_str().unwrap()));
    }
}

#[test]
fn only_what_the_format_has_is_looked_up() {
    assert!(!format(DEFAULT_ITEM_FORMAT).needs_chunk_index());
    assert!(!format(DEFAULT_ITEM_FORMAT).needs_content());
    assert!(format("{dcsize}").needs_chunk_index());
    let hashes = format("{sha256} {md5} {sha256}");
    assert!(hashes.needs_content());
    let items = items();
    assert_eq!(line(&hashes, &items[0]), b"<sha256> <md5> <sha256>");
    assert_eq!(line(&hashes, &items[3]), b"  ");
}

#[test]
fn names_on_disk_come_out_as_they_are() {
    let made = line(&format("{bpath}{NUL}"), &items()[1]);
    assert_eq!(
        made,
        "home/ünï".bytes().chain([0xff, 0]).collect::<Vec<_>>()
    );
}

#[test]
fn formats_that_make_no_sense_are_errors() {
    let error = |text: &str| {
        let format = ItemFormat::new(text, b"", "", &TimeZone::UTC);
        let used = format.and_then(|format| {
            with_item(&items()[0], |item| {
                format.write(&mut Vec::new(), item, &mut NoFacts)
            })
        });
        used.unwrap_err()
    };
    assert_eq!(error("{bogus}").msgid, "InvalidPlaceholder");
    for text in [
        "{path",
        "{path:d}",
        "{size:s}",
        "{size:zz}",
        "{path!r}",
        "}",
    ] {
        assert_eq!(error(text).msgid, "PlaceholderError", "{text}");
    }
}
