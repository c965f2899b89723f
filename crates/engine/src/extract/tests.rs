//! Restoring from small repositories: what is written, what is left alone, what is an error.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use fastness_format::item::Item;

use super::*;
use crate::event::Silent;
use crate::made::{Made, Opened, content};
use crate::select::patterns::{PatternMatcher, Rule};

fn options(paths: &[&str]) -> ExtractOptions {
    let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
    let no_rules: &[Rule] = &[];
    ExtractOptions {
        patterns: PatternMatcher::for_paths(no_rules, &paths).unwrap(),
        strip_components: 0,
        attributes: AttributeOptions::default(),
        existing: Existing::default(),
        sparse: false,
        dry_run: false,
        list: false,
        progress: false,
        part_files: false,
        threads: 2,
    }
}

fn five_files() -> Opened {
    let mut made = Made::new();
    made.archive("a", 5, 2);
    made.open()
}

fn read(opened: &Opened) -> ReadArchive {
    let session = &opened.session;
    let repository = session.repository.as_ref();
    session
        .catalogue
        .archive(repository, b"a", &Silent)
        .unwrap()
}

fn into(opened: &Opened, options: &ExtractOptions) -> Result<tempfile::TempDir, EngineError> {
    let target = tempfile::tempdir().unwrap();
    extract(
        &opened.session,
        &read(opened),
        target.path(),
        options,
        &Silent,
    )?;
    Ok(target)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_come_back_with_content_mode_and_time() {
    let target = into(&five_files(), &options(&[])).unwrap();
    let files = target.path().join("files");
    assert_eq!(names(&files), ["0", "1", "2", "3", "4"]);
    for number in 0..5 {
        let path = files.join(number.to_string());
        assert_eq!(fs::read(&path).unwrap(), content(number));
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o644);
        assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (0, 1));
    }
}

#[test]
fn only_what_is_wanted_is_written_and_stripped_paths_are_shorter() {
    let opened = five_files();
    let target = into(&opened, &options(&["files/3"])).unwrap();
    assert_eq!(names(&target.path().join("files")), ["3"]);
    let stripped = ExtractOptions {
        strip_components: 1,
        ..options(&[])
    };
    let target = into(&opened, &stripped).unwrap();
    assert_eq!(names(target.path()), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_dry_run_reads_everything_and_writes_nothing() {
    let dry = ExtractOptions {
        dry_run: true,
        ..options(&[])
    };
    let target = into(&five_files(), &dry).unwrap();
    assert!(names(target.path()).is_empty());
    let mut made = Made::new();
    made.archive("a", 5, 2);
    made.commit();
    let lost = made.crypto.id(&content(4));
    made.delete(&lost);
    let error = into(&made.open(), &dry).unwrap_err();
    assert!(error.to_string().contains(&lost.to_string()), "{error}");
}

#[test]
fn a_missing_chunk_of_a_file_that_is_not_wanted_does_not_matter() {
    let mut made = Made::new();
    made.archive("a", 5, 2);
    made.commit();
    let lost = made.crypto.id(&content(4));
    made.delete(&lost);
    let opened = made.open();
    assert!(into(&opened, &options(&[])).is_err());
    let target = into(&opened, &options(&["files/1"])).unwrap();
    assert_eq!(names(&target.path().join("files")), ["1"]);
}

#[test]
fn contents_go_to_an_output_one_after_the_other() {
    let opened = five_files();
    let mut output = Vec::new();
    let wanted = options(&["files/1", "files/2"]);
    extract_to(
        &opened.session,
        &read(&opened),
        &mut output,
        &wanted,
        &Silent,
    )
    .unwrap();
    assert_eq!(output, [content(1), content(2)].concat());
}

#[test]
fn what_is_in_the_way_is_replaced_and_what_is_beside_it_stays() {
    let opened = five_files();
    let target = tempfile::tempdir().unwrap();
    let files = target.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("2"), b"something older and longer".repeat(9)).unwrap();
    fs::write(files.join("mine"), b"mine").unwrap();
    extract(
        &opened.session,
        &read(&opened),
        target.path(),
        &options(&[]),
        &Silent,
    )
    .unwrap();
    assert_eq!(fs::read(files.join("2")).unwrap(), content(2));
    assert_eq!(fs::read(files.join("mine")).unwrap(), b"mine");
}

#[test]
fn a_path_that_leads_out_of_the_target_writes_nothing_there() {
    let mut made = Made::new();
    let evil = Item {
        path: b"../outside".to_vec(),
        ..made.file(0)
    };
    let mut stream = Vec::new();
    evil.encode(&mut stream);
    made.archive_of("a", &[&stream]);
    let opened = made.open();
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("target");
    fs::create_dir(&target).unwrap();
    let _ = extract(
        &opened.session,
        &read(&opened),
        &target,
        &options(&[]),
        &Silent,
    );
    assert_eq!(names(parent.path()), ["target"]);
}

/// Extracts again over what is in `target`.
fn again(opened: &Opened, target: &Path, existing: Existing) {
    let options = ExtractOptions {
        existing,
        ..options(&[])
    };
    extract(&opened.session, &read(opened), target, &options, &Silent).unwrap();
}

#[test]
fn what_is_there_is_replaced_compared_or_kept() {
    let opened = five_files();
    let target = into(&opened, &options(&[])).unwrap();
    let file = |number: usize| target.path().join(format!("files/{number}"));
    let inode = |number| fs::metadata(file(number)).unwrap().ino();
    let text = |number| fs::read(file(number)).unwrap();
    let mine = b"mine".to_vec();
    fs::write(file(1), &mine).unwrap();
    fs::remove_file(file(2)).unwrap();
    fs::set_permissions(file(3), fs::Permissions::from_mode(0o600)).unwrap();
    let before = [inode(0), inode(3)];

    again(&opened, target.path(), Existing::Keep { since: None });
    assert_eq!((text(1), text(2)), (mine, content(2)));
    assert_eq!([inode(0), inode(3)], before);
    let mode = |number| fs::metadata(file(number)).unwrap().permissions().mode();
    assert_eq!(mode(3) & 0o7777, 0o600);

    again(&opened, target.path(), Existing::Compare);
    assert_eq!((text(1), text(2)), (content(1), content(2)));
    assert_eq!(
        [inode(0), inode(3)],
        before,
        "the same content is not written"
    );
    assert_eq!(mode(3) & 0o7777, 0o644);

    again(&opened, target.path(), Existing::Replace { since: Some(0) });
    assert_eq!(
        [inode(0), inode(3)],
        before,
        "all of it is the work of the one before"
    );
    // Open, the old ones keep their numbers from the new ones.
    let _old = [0, 3].map(|number| fs::File::open(file(number)).unwrap());
    again(&opened, target.path(), Existing::default());
    assert_ne!([inode(0), inode(3)], before);
}

#[test]
fn what_an_unfinished_extraction_left_is_completed_and_the_rest_kept() {
    let opened = five_files();
    let target = tempfile::tempdir().unwrap();
    let files = target.path().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("0"), b"mine").unwrap();
    let made = fs::metadata(files.join("0")).unwrap();
    let after = |metadata: &fs::Metadata| metadata.ctime() * 1_000_000_000 + metadata.ctime_nsec();
    // The clock of the kernel moves in steps.
    std::thread::sleep(std::time::Duration::from_millis(30));
    fs::write(files.join("1"), b"torn").unwrap();
    let since = Some(after(&made) + 1);
    again(&opened, target.path(), Existing::Keep { since });
    assert_eq!(fs::read(files.join("0")).unwrap(), b"mine");
    for number in 1..5 {
        assert_eq!(
            fs::read(files.join(number.to_string())).unwrap(),
            content(number)
        );
    }
}
