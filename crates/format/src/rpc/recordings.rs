//! Every message that real Borg clients and servers exchanged in the recorded sessions.
//!
//! What is read is written again and compared, so that our clients and servers say what Borg's do.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{Answer, Call, Form, Inbox, Request, Response};

const RECORDINGS: [&str; 5] = [
    "rpc-c11-s14",
    "rpc-c12-s14",
    "rpc-c14-s11",
    "rpc-c14-s12",
    "rpc-c14-s14",
];

/// The files of a recording, which is a compressed tar archive.
fn recording(name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/rpc");
    let packed = std::fs::File::open(testdata.join(format!("{name}.tar.gz"))).unwrap();
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(packed)
        .read_to_end(&mut tar)
        .unwrap();
    let mut files = BTreeMap::new();
    let mut rest = tar.as_slice();
    while let Some((header, tail)) = rest.split_at_checked(512) {
        let text = |range: std::ops::Range<usize>| {
            let text = String::from_utf8_lossy(&header[range]).into_owned();
            text.trim_matches(['\0', ' ']).to_owned()
        };
        let Ok(size) = usize::from_str_radix(&text(124..136), 8) else {
            break;
        };
        files.insert(PathBuf::from(text(0..100)), tail[..size].to_vec());
        rest = &tail[size.next_multiple_of(512)..];
    }
    files
}

/// The streams of one direction.
fn streams(extension: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for (path, bytes) in RECORDINGS.into_iter().flat_map(recording) {
        if path.extension().is_some_and(|other| other == extension) {
            found.push((path.display().to_string(), bytes));
        }
    }
    assert!(found.len() > 60, "{}", found.len());
    found
}

/// Cuts a stream into messages, arriving in pieces of `piece` bytes.
fn messages(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut inbox = Inbox::new();
    let mut messages = Vec::new();
    for bytes in stream.chunks(piece) {
        inbox.extend(bytes);
        while let Some(message) = inbox.next_message().unwrap() {
            messages.push(message.to_vec());
        }
    }
    assert!(inbox.is_empty());
    messages
}

#[test]
fn streams_are_cut_into_the_same_messages_however_they_arrive() {
    for (path, bytes) in streams("c2s").into_iter().chain(streams("s2c")) {
        let whole = messages(&bytes, bytes.len().max(1));
        assert_eq!(whole.concat(), bytes, "{path}");
        assert_eq!(messages(&bytes, 7), whole, "{path}");
    }
}

#[test]
fn requests_are_understood_and_written_as_borg_writes_them() {
    let mut methods = BTreeSet::new();
    let mut same = 0;
    for (path, bytes) in streams("c2s") {
        for message in messages(&bytes, 4096) {
            let request = Request::decode(&message).unwrap();
            let call = request.call().unwrap_or_else(|e| panic!("{path}: {e}"));
            methods.insert(call.method());
            let mut written = Vec::new();
            Request::encode(request.form, request.msgid, &call, &mut written);
            let again = Request::decode(&written).unwrap();
            assert_eq!(again.call().unwrap(), call, "{path}");
            assert_eq!((again.form, again.msgid), (request.form, request.msgid));
            // Borg sends a `wait` along that no server looks at; 1.1 and 1.2 know fewer names.
            if path.contains("c14") && !matches!(call, Call::Put { .. } | Call::Delete(_)) {
                assert_eq!(written, message, "{path}: {call:?}");
                same += 1;
            }
        }
    }
    assert!(same > 200, "{same}");
    for method in [
        "negotiate",
        "open",
        "put",
        "get",
        "commit",
        "delete",
        "check",
        "break_lock",
    ] {
        assert!(methods.contains(method), "{method} in {methods:?}");
    }
}

#[test]
fn responses_are_understood_and_written_as_borg_writes_them() {
    let mut classes = BTreeSet::new();
    for (path, bytes) in streams("s2c") {
        for message in messages(&bytes, 4096) {
            let response = Response::decode(&message).unwrap_or_else(|_| panic!("{path}"));
            let form = match &response.outcome {
                Ok(Answer::Negotiated(_)) => Form::Positional,
                Ok(_) => Form::Named,
                Err(failure) => {
                    assert!(failure.text(0).is_some(), "{path}: {failure:?}");
                    classes.insert(failure.class.clone());
                    Form::Named
                }
            };
            let mut written = Vec::new();
            response.encode(form, &mut written);
            assert_eq!(written, message, "{path}: {response:?}");
        }
    }
    for class in [
        "AlreadyExists",
        "DoesNotExist",
        "ObjectNotFound",
        "PathNotAllowed",
        "StorageQuotaExceeded",
    ] {
        assert!(classes.contains(class), "{class} in {classes:?}");
    }
}
