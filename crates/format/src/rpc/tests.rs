//! Messages of both forms, hostile ones too. Recorded sessions are compared in
//! `recordings.rs`.

use proptest::prelude::*;

use super::*;
use crate::id::ChunkId;
use crate::msgpack::{self, Value};

/// What Borg 1.4.5 sends first.
const NEGOTIATE: &[u8] = b"\x94\x01\x01\xa9negotiate\x91\x81\xaeclient_version\x94\x01\x04\x05\xff";

/// What its server answers.
const NEGOTIATED: &[u8] = b"\x94\x01\x01\xc0\x81\xaeserver_version\x94\x01\x04\x05\xff";

fn encoded(form: Form, msgid: i64, call: &Call<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    Request::encode(form, msgid, call, &mut out);
    out
}

fn positional(method: &str, arguments: Vec<Value>) -> Vec<u8> {
    let mut out = Vec::new();
    let message = [
        Value::Int(1),
        Value::Int(3),
        Value::text(method),
        Value::Array(arguments),
    ];
    Value::Array(message.into()).write(&mut out);
    out
}

#[test]
fn the_first_messages_are_those_of_borg() {
    let call = Call::Negotiate(Some(Version::release(1, 4, 5)));
    assert_eq!(encoded(Form::Positional, 1, &call), NEGOTIATE);
    let response = Response {
        msgid: 1,
        outcome: Ok(Answer::Negotiated(Version::release(1, 4, 5))),
    };
    let mut out = Vec::new();
    response.encode(Form::Positional, &mut out);
    assert_eq!(out, NEGOTIATED);
    assert_eq!(Response::decode(NEGOTIATED), Ok(response));
}

#[test]
fn clients_of_borg_1_0_are_understood() {
    let request = positional("negotiate", vec![Value::Int(2)]);
    let request = Request::decode(&request).unwrap();
    assert_eq!(request.call(), Ok(Call::Negotiate(None)));
    // Before 1.0.7 there were four arguments.
    let path = Value::text("/repo");
    let four = vec![path, Value::Bool(false), Value::Int(1), Value::Bool(true)];
    let message = positional("open", four);
    let request = Request::decode(&message).unwrap();
    assert_eq!((request.form, request.msgid), (Form::Positional, 3));
    let open = Open {
        lock_wait: Some(1.0),
        ..Open::of(b"/repo")
    };
    assert_eq!(request.call(), Ok(Call::Open(open)));
    let message = positional("commit", vec![Value::Bool(false)]);
    let commit = Request::decode(&message).unwrap().call();
    assert!(matches!(commit, Ok(Call::Commit { compact: true, .. })));
}

#[test]
fn values_are_borrowed_and_heads_are_what_comes_before_them() {
    let id = ChunkId::new([7; 32]);
    for form in [Form::Named, Form::Positional] {
        let mut out = Vec::new();
        put_head(form, 9, &id, 40_000, &mut out);
        out.resize(out.len() + 40_000, 0x55);
        let data = [0x55; 40_000].as_slice();
        assert_eq!(out, encoded(form, 9, &Call::Put { id, data }));
        let request = Request::decode(&out).unwrap();
        assert_eq!(request.call(), Ok(Call::Put { id, data }));

        let mut out = Vec::new();
        raw_answer_head(form, 9, 3, &mut out);
        out.extend_from_slice(b"abc");
        let answer = Response::decode(&out).unwrap();
        assert_eq!(answer.outcome, Ok(Answer::Raw(b"abc")));
    }
}

#[test]
fn unknown_names_are_passed_over_and_wrong_calls_are_told_apart() {
    let call = |method: &str, arguments: Vec<(Value, Value)>| {
        let mut out = Vec::new();
        Value::Map(vec![
            (Value::text("i"), Value::Int(1)),
            (Value::text("m"), Value::text(method)),
            (Value::text("a"), Value::Map(arguments)),
        ])
        .write(&mut out);
        Request::decode(&out)
            .unwrap()
            .call()
            .map(|call| call.method())
    };
    let id = || (Value::text("id"), Value::Raw(vec![0; 32]));
    let other = || (Value::text("colour"), Value::Array(vec![Value::Nil]));
    assert_eq!(call("get", vec![other(), id()]), Ok("get"));
    assert!(matches!(
        call("get", vec![other()]),
        Err(CallError::Missing { name: "id", .. })
    ));
    let short = (Value::text("id"), Value::Raw(vec![0; 31]));
    assert!(matches!(
        call("delete", vec![short]),
        Err(CallError::Unusable { name: "id", .. })
    ));
    let negative = (Value::text("limit"), Value::Int(-1));
    assert!(call("list", vec![negative]).is_err());
    for method in ["__class__", "close", "", "open\0"] {
        let unknown = CallError::UnknownMethod(method.to_owned());
        assert_eq!(call(method, vec![]), Err(unknown));
    }
}

#[test]
fn failures_of_every_age_are_read() {
    let failure = Failure {
        class: "PathNotAllowed".into(),
        args: Some(vec![Value::text("/x")]),
        full: vec!["Traceback".into()],
        short: vec!["Repository path not allowed: /x".into()],
        trace: false,
        sysinfo: "Linux".into(),
    };
    let response = Response {
        msgid: 5,
        outcome: Err(failure),
    };
    let mut out = Vec::new();
    response.encode(Form::Named, &mut out);
    assert_eq!(Response::decode(&out).as_ref(), Ok(&response));
    out.clear();
    response.encode(Form::Positional, &mut out);
    let old = Response::decode(&out).unwrap().outcome.unwrap_err();
    assert_eq!((old.class.as_str(), old.args), ("PathNotAllowed", None));
}

#[test]
fn a_claimed_length_costs_no_memory_and_ends_at_the_limit() {
    // 30 MiB are claimed, a few bytes are there.
    let mut inbox = Inbox::new();
    inbox.extend(b"\x83\xa1i\x01\xa1m\xa3put\xa1a\x81\xa4data\xdb\x01\xe0\x00\x00");
    assert_eq!(inbox.next_message(), Ok(None));
    assert!(inbox.room().len() < 1 << 20);
    for claim in [
        &b"\xdb\xff\xff\xff\xff"[..],
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91\xdb\x03\xc0\x00\x00",
    ] {
        let mut inbox = Inbox::new();
        inbox.extend(claim);
        assert_eq!(inbox.next_message(), Err(FrameError::TooLong), "{claim:?}");
    }
    let mut inbox = Inbox::new();
    inbox.extend(&[0x91; 100]);
    assert_eq!(inbox.next_message(), Err(FrameError::Malformed));
    // Neither is what a login shell says: every letter is a small number.
    let mut inbox = Inbox::new();
    inbox.extend(b"Welcome");
    let message = inbox.next_message().unwrap().unwrap();
    assert!(Response::decode(message).is_err());
    assert!(Request::decode(message).is_err());
}

#[test]
fn what_is_small_on_the_wire_does_not_become_large_in_memory() {
    let many = || Value::Array(vec![Value::Int(7); 5000]);
    let mut out = Vec::new();
    Value::Map(vec![
        (Value::text("i"), Value::Int(1)),
        (Value::text("exception_class"), Value::text("Error")),
        (
            Value::text("exception_args"),
            Value::Array(vec![many(), Value::text("x")]),
        ),
        (
            Value::text("exception_full"),
            Value::Array(vec![Value::text(""); 5000]),
        ),
    ])
    .write(&mut out);
    let failure = Response::decode(&out).unwrap().outcome.unwrap_err();
    assert_eq!(failure.args, Some(vec![Value::Nil, Value::text("x")]));
    assert_eq!(failure.full.len(), 1000);
    let mut out = Vec::new();
    Value::Map(vec![
        (Value::text("i"), Value::Int(1)),
        (Value::text("m"), Value::text("commit")),
        (
            Value::text("a"),
            Value::Map(vec![(Value::text("threshold"), many())]),
        ),
    ])
    .write(&mut out);
    let commit = Request::decode(&out).unwrap().call();
    assert!(matches!(
        commit,
        Err(CallError::Unusable {
            name: "threshold",
            ..
        })
    ));
}

#[test]
fn long_messages_arrive_in_a_buffer_that_does_not_grow_beyond_them() {
    let data = vec![1; 3 << 20];
    let id = ChunkId::new([1; 32]);
    let message = encoded(Form::Named, 1, &Call::Put { id, data: &data });
    let mut inbox = Inbox::new();
    for round in 0..4 {
        for piece in message.chunks(60_000) {
            assert_eq!(inbox.next_message().unwrap(), None, "{round}");
            inbox.extend(piece);
        }
        assert_eq!(inbox.next_message().unwrap(), Some(message.as_slice()));
    }
    assert!(inbox.room().len() < 2 * message.len() + (1 << 20));
}

#[test]
fn lines_of_servers_old_and_new_are_told_from_those_of_others() {
    let message = |level: &str, logger: &str, message: &str| LogLine::Message {
        level: level.to_owned(),
        logger: logger.to_owned(),
        message: message.to_owned(),
        msgid: None,
    };
    for (line, expected) in [
        (
            "{\"type\": \"log_message\", \"time\": 1.5, \"message\": \"Starting \\u00fc\", \
             \"levelname\": \"INFO\", \"name\": \"borg.repository\"}\n",
            message("INFO", "borg.repository", "Starting \u{fc}"),
        ),
        (
            "$LOG DEBUG borg.logger Remote: using built-in",
            message("DEBUG", "borg.logger", "using built-in"),
        ),
        ("$LOG ERROR Remote: old", message("ERROR", "", "old")),
        (
            "{\"type\": \"song\"}",
            LogLine::Unknown("{\"type\": \"song\"}"),
        ),
        ("{not json", LogLine::Foreign("{not json")),
        (
            "bash: borg: command not found\r\n",
            LogLine::Foreign("bash: borg: command not found"),
        ),
    ] {
        assert_eq!(LogLine::parse(line), expected, "{line}");
    }
    let line = "{\"message\": \"Checking segments 12.5%\", \"current\": 2, \"total\": 8, \
        \"info\": null, \"operation\": 1, \"msgid\": \"repository.check\", \
        \"type\": \"progress_percent\", \"finished\": false, \"time\": 1.5}";
    let expected = Progress {
        msgid: Some("repository.check".into()),
        message: Some("Checking segments 12.5%".into()),
        share: Some((2, 8)),
        finished: false,
        operation: 1,
    };
    assert_eq!(LogLine::parse(line), LogLine::Progress(expected));
}

#[test]
fn versions_compare_and_print_as_with_borg() {
    for (numbers, text) in [
        (vec![1, 4, 5, -1], "1.4.5"),
        (vec![1, 2, 0, -4, 8], "1.2.0a8"),
        (vec![1, 1, 0, -3, 3], "1.1.0b3"),
        (vec![1, 2, 0, -2, 1], "1.2.0rc1"),
        (vec![2, 0, 0, -9, 7], "2.0.0.dev7"),
        (vec![], ""),
    ] {
        assert_eq!(Version::new(numbers).to_string(), text);
    }
    assert!(Version::new([1, 2, 0, -4, 8]) < Version::release(1, 2, 0));
    assert!(Version::untold() < Version::new([1, 1, 0, -3, 3]));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut inbox = Inbox::new();
        inbox.extend(&bytes);
        let mut taken = 0;
        while let Ok(Some(message)) = inbox.next_message() {
            prop_assert!(!message.is_empty());
            taken += message.len();
            let _ = Request::decode(message).map(|request| request.call().is_ok());
            let _ = Response::decode(message);
        }
        prop_assert!(taken <= bytes.len());
    }

    #[test]
    fn cutting_agrees_with_reading(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut inbox = Inbox::new();
        inbox.extend(&bytes);
        let read = msgpack::Reader::new(&bytes).skip();
        match inbox.next_message() {
            Ok(Some(message)) => prop_assert_eq!(read, Ok(message)),
            Ok(None) | Err(_) => prop_assert!(read.is_err()),
        }
    }
}
