use std::sync::Arc;

use fastness_format::item::Item;
use fastness_sys::stat::FileKind;

use super::*;
use crate::made::{Made, Told, content};

fn options() -> VfsOptions {
    VfsOptions {
        patterns: PatternMatcher::for_paths(&[], &[]).unwrap(),
        strip_components: 0,
        part_files: false,
        versions: false,
        allow_damaged_files: false,
        umask: 0,
        uid: None,
        gid: None,
        numeric_ids: true,
        own_ids: (7, 8),
        now: 42,
        cached_chunks: 2,
        threads: 1,
    }
}

fn item(path: &[u8], mode: u32) -> Item {
    Item {
        path: path.to_vec(),
        mode,
        mtime: Some(5),
        ..Item::default()
    }
}

fn stream(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::new();
    items.iter().for_each(|item| item.encode(&mut bytes));
    bytes
}

/// All paths below the root with their kinds, directories with a slash.
fn paths(vfs: &Vfs) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(ROOT, String::new())];
    while let Some((directory, prefix)) = open.pop() {
        vfs.list(directory, 0, |_, listed| {
            let mut path = format!("{prefix}{}", String::from_utf8_lossy(&listed.name));
            if listed.kind == FileKind::Directory {
                path.push('/');
                open.push((listed.node, path.clone()));
            }
            found.push(path);
            true
        })
        .unwrap();
    }
    found.sort();
    found
}

fn at(vfs: &Vfs, path: &str) -> NodeId {
    let parts = path.split('/');
    parts.fold(ROOT, |node, part| {
        vfs.lookup(node, part.as_bytes()).unwrap()
    })
}

fn shown(made: Made, options: VfsOptions) -> (Vfs, tempfile::TempDir, Arc<Told>) {
    let opened = made.open();
    let (session, dir) = opened.into_parts();
    let told = Arc::new(Told::default());
    let monitor: Arc<dyn Monitor + Send> = told.clone();
    (Vfs::new(session, options, monitor), dir, told)
}

/// How many items the view says it does not show.
fn left_out(told: &Told) -> usize {
    let told = told.0.lock().unwrap();
    let about = |text: &str| text.contains("left out") || text.contains("broken hard link");
    told.iter().filter(|(_, text)| about(text)).count()
}

#[test]
fn items_are_found_wherever_the_stream_is_cut() {
    let mut made = Made::new();
    let items: Vec<Item> = (0..20).map(|number| made.file(number)).collect();
    let bytes = stream(&items);
    let pieces: Vec<&[u8]> = bytes.chunks(37).collect();
    made.archive_of("a", &pieces);
    let (vfs, _dir, _) = shown(made, options());
    vfs.show_archive(b"a").unwrap();
    for number in [0_u32, 7, 19] {
        let node = at(&vfs, &format!("files/{number}"));
        let attributes = vfs.attributes(node).unwrap();
        assert_eq!((attributes.size, attributes.mtime), (80, 1));
        let file = vfs.open(node).unwrap();
        assert_eq!(vfs.read(&file, 0, 1000).unwrap(), content(number));
        assert_eq!(vfs.read(&file, 70, 4).unwrap(), content(number)[70..74]);
        assert!(vfs.read(&file, 80, 4).unwrap().is_empty());
    }
    let made = vfs.attributes(at(&vfs, "files")).unwrap();
    assert_eq!((made.uid, made.gid, made.mtime), (7, 8, 42));
}

#[test]
fn archives_are_read_when_somebody_looks_into_them() {
    let mut made = Made::new();
    made.archive("a", 3, 2);
    let broken = made.archive("b", 5, 3);
    let mut opened = made.open();
    opened.session.repository.delete(&broken[1]).unwrap();
    opened.session.repository.commit(None).unwrap();
    let (session, _dir) = opened.into_parts();
    let vfs = Vfs::new(session, options(), Arc::new(Told::default()));
    vfs.show_archive_directory(b"a", 10);
    vfs.show_archive_directory(b"b", 20);
    vfs.show_archive_directory(b"c/d", 30);
    assert_eq!(vfs.size().pending_archives, 2);
    assert_eq!(vfs.attributes(at(&vfs, "b")).unwrap().mtime, 20);
    assert_eq!(vfs.size().nodes, 3);
    assert!(vfs.lookup(at(&vfs, "a"), b"files").is_ok());
    assert_eq!(vfs.size().pending_archives, 1);
    // What was read of the broken one is not shown as if it were all.
    let b = at(&vfs, "b");
    assert!(matches!(vfs.lookup(b, b"files"), Err(VfsError::Engine(_))));
    assert!(matches!(
        vfs.lookup(b, b"files"),
        Err(VfsError::Unreadable(_))
    ));
    vfs.close().unwrap();
    let file = vfs.open(at(&vfs, "a/files/1"));
    assert!(file.is_err() || vfs.read(&file.unwrap(), 0, 1).is_err());
}

#[test]
fn hostile_names_are_left_out_and_told() {
    let mut made = Made::new();
    let long = vec![b'l'; 2000];
    let items = [
        item(b"fine", 0o100_644),
        item(b"../outside", 0o100_644),
        item(b"a/../../b", 0o100_644),
        item(b"nul\0name", 0o100_644),
        item(&long, 0o040_755),
        item(b"fine/below-a-file", 0o100_644),
        item(b".", 0o040_700),
        item(b"/absolute//twice", 0o100_644),
        item(b"later", 0o100_644),
        item(b"later", 0o040_755),
        item(b"later/in", 0o100_644),
    ];
    made.archive_of("a", &[&stream(&items)]);
    let (vfs, _dir, told) = shown(made, options());
    vfs.show_archive(b"a").unwrap();
    let expected = ["absolute/", "absolute/twice", "fine", "later/", "later/in"];
    assert_eq!(paths(&vfs), expected);
    assert_eq!(left_out(&told), 5);
    assert_eq!(vfs.attributes(ROOT).unwrap().mode, 0o040_755);
}

#[test]
fn further_names_lead_to_the_same_file_or_take_its_place() {
    let mut made = Made::new();
    let mut first = made.file(1);
    first.path = b"d/first".to_vec();
    first.hardlink_master = Some(true);
    let further = |path: &[u8]| Item {
        source: Some(b"d/first".to_vec()),
        ..item(path, 0o100_600)
    };
    let lost = Item {
        source: Some(b"d/nowhere".to_vec()),
        ..item(b"d/lost", 0o100_600)
    };
    let items = [first, further(b"d/second"), further(b"e/third"), lost];
    made.archive_of("a", &[&stream(&items)]);
    let (vfs, _dir, told) = shown(made, options());
    vfs.show_archive(b"a").unwrap();
    let first = at(&vfs, "d/first");
    assert_eq!([at(&vfs, "d/second"), at(&vfs, "e/third")], [first; 2]);
    assert_eq!(vfs.attributes(first).unwrap().links, 3);
    assert_eq!(left_out(&told), 1, "the broken one is told");

    // Without the first name the next one is the file.
    let session = vfs.session.write().unwrap().take().unwrap();
    let mut selection = crate::select::pattern_file::Selection::default();
    selection.add_exclude(b"d/first").unwrap();
    let partial = VfsOptions {
        patterns: PatternMatcher::for_paths(&selection.rules, &[]).unwrap(),
        ..options()
    };
    let vfs = Vfs::new(session, partial, Arc::new(Told::default()));
    vfs.show_archive(b"a").unwrap();
    let second = at(&vfs, "d/second");
    assert_eq!(at(&vfs, "e/third"), second);
    let attributes = vfs.attributes(second).unwrap();
    assert_eq!((attributes.links, attributes.size), (2, 80));
    let file = vfs.open(second).unwrap();
    assert_eq!(vfs.read(&file, 0, 100).unwrap(), content(1));
}

#[test]
fn versions_count_contents_that_differ_from_the_one_before() {
    let mut made = Made::new();
    for (archive, number) in [("a", 1), ("b", 1), ("c", 2), ("d", 1)] {
        let mut file = made.file(number);
        file.path = b"dir/file.txt".to_vec();
        let items = [item(b"dir", 0o040_755), file, item(b"fifo", 0o010_644)];
        made.archive_of(archive, &[&stream(&items)]);
    }
    let merged = VfsOptions {
        versions: true,
        ..options()
    };
    let (vfs, _dir, _) = shown(made, merged);
    for archive in ["a", "b", "c", "d"] {
        vfs.show_archive(archive.as_bytes()).unwrap();
    }
    let expected = [
        "dir/",
        "dir/file.txt/",
        "dir/file.txt/file.00001.txt",
        "dir/file.txt/file.00002.txt",
        "dir/file.txt/file.00003.txt",
        "fifo/",
        "fifo/fifo",
    ];
    assert_eq!(paths(&vfs), expected);
}
