//! `browse`, driven by keys in a terminal of 80 columns.

use std::fs;

use crate::borgmatic::Place;

const DOWN: &str = "\x1b[B";

#[test]
fn one_finds_a_file_reads_it_and_takes_it_out() {
    let place = Place::new();
    let source = place.sandbox.path("source");
    fs::create_dir_all(source.join("letters")).unwrap();
    fs::write(source.join("letters/one.txt"), "dear reader\n").unwrap();
    fs::write(source.join("letters/two.bin"), b"\0\x01").unwrap();
    let _ = place.fastness(&["repo-create"]).ok();
    let _ = place.fastness(&["create"]).ok();
    // A configuration of its own, whose archive begins right at the letters.
    let text = fs::read_to_string(place.sandbox.path("config.yaml")).unwrap();
    let top = place.sandbox.root().to_str().unwrap();
    let near = text.replace(
        &format!("{top}/source"),
        &format!("{top}/source/letters/./"),
    );
    fs::write(place.sandbox.path("config.yaml"), near).unwrap();
    let _ = place.fastness(&["create"]).ok();
    let out = place.sandbox.path("out");
    let wanted = format!("{}\r", out.display());
    let steps = [
        ("local", "\r"),
        // The newest archive comes first.
        ("-20", "\r"),
        ("files and directories", "G"),
        ("q leave", "\x1b[A"),
        ("one.txt", "\r"),
        ("dear reader", "\x1b[D"),
        ("x extract", "x"),
        ("to which directory?", &wanted),
        ("1 entry extracted to", "q"),
    ];
    let screen = place
        .fastness_run(&["browse"])
        .in_terminal(&steps)
        .ok()
        .out();
    assert!(screen.contains("two.bin"), "{screen}");
    let found = fs::read(out.join("one.txt")).unwrap();
    assert_eq!(found, b"dear reader\n");
    assert!(!out.join("two.bin").exists());
    let steps = [("local", DOWN), ("q leave", "q")];
    let _ = place.fastness_run(&["browse"]).in_terminal(&steps).ok();
}

#[test]
fn what_cannot_be_opened_is_told_on_the_screen() {
    let place = Place::new();
    let steps = [("local", "\r"), ("does not exist", "q")];
    let _ = place.fastness_run(&["browse"]).in_terminal(&steps).ok();
    let outcome = place.fastness(&["browse"]);
    assert_eq!(outcome.code(), 1);
    assert!(outcome.err().contains("needs a terminal"), "{outcome}");
}
