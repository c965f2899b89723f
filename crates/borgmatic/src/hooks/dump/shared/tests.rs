use std::io::pipe;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::output::log::tests::log;

/// A program that is started as often as `begun` says, and gives `data`.
#[derive(Debug)]
struct Source {
    begun: Arc<AtomicUsize>,
    data: Vec<u8>,
    error: Option<&'static str>,
}

impl Producer for Source {
    fn begin(&self) -> Result<OwnedFd, ProducerError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let (reader, mut writer) = pipe().unwrap();
        let data = self.data.clone();
        std::thread::spawn(move || {
            // Who left does not want it.
            let _ = writer.write_all(&data);
        });
        Ok(reader.into())
    }

    fn finish(&self, ended: &Ended, _: &dyn Fn() -> bool) -> Result<(), ProducerError> {
        assert_eq!(ended.bytes, self.data.len() as u64);
        match self.error {
            None => Ok(()),
            Some(error) => Err(ProducerError(error.to_owned())),
        }
    }
}

/// Files of these lengths.
#[derive(Debug)]
struct Files(Mutex<Vec<usize>>);

impl FileProducer for Files {
    fn next(&self) -> Result<NextFile, ProducerError> {
        let Some(length) = locked(&self.0).pop() else {
            return Ok(NextFile::End);
        };
        let (reader, mut writer) = pipe().unwrap();
        std::thread::spawn(move || {
            let _ = writer.write_all(&vec![7; length]);
        });
        Ok(NextFile::File(ProducedFile {
            path: length.to_string().into_bytes(),
            content: reader.into(),
        }))
    }
}

fn stream(source: StreamSource) -> Stream {
    Stream {
        place: 0,
        source,
        path: b"borgmatic/dump".to_vec(),
        mode: 0o600,
        user: (Vec::new(), 0),
        group: (Vec::new(), 0),
        time: 0,
        chunker: None,
    }
}

struct Trial {
    shared: Shared,
    begun: Arc<AtomicUsize>,
    streams: Vec<Stream>,
}

fn trial(bytes: usize, error: Option<&'static str>, patience: u64) -> Trial {
    let (log, _, _) = log(0);
    let names = vec!["nas".to_owned(), "remote".to_owned()];
    let shared = Shared::new(names, &log, Duration::from_millis(patience));
    let begun = Arc::new(AtomicUsize::new(0));
    let source = Source {
        begun: Arc::clone(&begun),
        data: (0..bytes).map(|n| (n % 251) as u8).collect(),
        error,
    };
    let all = shared.split(vec![stream(StreamSource::Produced(Box::new(source)))]);
    Trial {
        shared,
        begun,
        streams: all.into_iter().flatten().collect(),
    }
}

/// Reads a stream to its end and asks whether it is complete.
fn take(stream: &Stream) -> Result<Vec<u8>, ProducerError> {
    let StreamSource::Produced(producer) = &stream.source else {
        panic!("it is no single stream");
    };
    let mut data = Vec::new();
    File::from(producer.begin()?)
        .read_to_end(&mut data)
        .unwrap();
    let mut ended = Ended::default();
    ended.add(&data);
    producer.finish(&ended, &|| false)?;
    Ok(data)
}

#[test]
fn one_run_of_a_program_gives_all_archives_the_same_bytes() {
    let trial = trial(5_000_001, None, 60_000);
    let [one, other] = trial.streams.as_slice() else {
        panic!("there are two archives");
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| take(other).unwrap());
        (take(one).unwrap(), other.join().unwrap())
    });
    assert_eq!(one.len(), 5_000_001);
    assert!(one == other);
    assert_eq!(trial.begun.load(Ordering::Relaxed), 1);
}

#[test]
fn an_archive_that_is_given_up_keeps_nobody_waiting() {
    let mut trial = trial(3_000_000, None, 60_000);
    drop(trial.streams.pop());
    assert_eq!(take(&trial.streams[0]).unwrap().len(), 3_000_000);
}

#[test]
fn a_dump_that_fails_fails_in_all_archives_with_its_reason() {
    let trial = trial(10, Some("it ended with code 3"), 60_000);
    std::thread::scope(|scope| {
        let all: Vec<_> = trial
            .streams
            .iter()
            .map(|stream| scope.spawn(|| take(stream).unwrap_err()))
            .collect();
        for error in all {
            assert_eq!(error.join().unwrap().0, "it ended with code 3");
        }
    });
    assert!(!trial.shared.left_behind(0) && !trial.shared.left_behind(1));
}

#[test]
fn an_archive_that_does_not_come_is_left_behind() {
    let trial = trial(1000, None, 200);
    assert_eq!(take(&trial.streams[0]).unwrap().len(), 1000);
    assert!(!trial.shared.left_behind(0));
    assert!(trial.shared.left_behind(1));
    let late = take(&trial.streams[1]).unwrap_err();
    assert!(late.0.contains("went on without this archive"), "{late}");
}

#[test]
fn an_archive_that_takes_nothing_is_left_behind_in_the_middle() {
    let trial = trial(8_000_000, None, 300);
    let [quick, stalled] = trial.streams.as_slice() else {
        panic!("there are two archives");
    };
    let StreamSource::Produced(producer) = &stalled.source else {
        panic!("it is no single stream");
    };
    std::thread::scope(|scope| {
        let quick = scope.spawn(|| take(quick).unwrap());
        let mut pipe = File::from(producer.begin().unwrap());
        assert_eq!(quick.join().unwrap().len(), 8_000_000);
        let mut ended = Ended::default();
        let mut rest = Vec::new();
        pipe.read_to_end(&mut rest).unwrap();
        ended.add(&rest);
        assert!(rest.len() < 8_000_000);
        let error = producer.finish(&ended, &|| false).unwrap_err();
        assert!(error.0.contains("went on without this archive"), "{error}");
    });
    assert!(trial.shared.left_behind(1));
}

#[test]
fn files_reach_all_archives_in_order_and_whole() {
    let (log, _, _) = log(0);
    let names = vec!["nas".to_owned(), "remote".to_owned()];
    let shared = Shared::new(names, &log, PATIENCE);
    let lengths: Vec<usize> = (0..60).map(|n| n * 7001).collect();
    let files = Files(Mutex::new(lengths.iter().rev().copied().collect()));
    let all = shared.split(vec![stream(StreamSource::Files(Box::new(files)))]);
    let read = |stream: &Stream| {
        let StreamSource::Files(files) = &stream.source else {
            panic!("it is no stream of files");
        };
        let mut found = Vec::new();
        loop {
            match files.next().unwrap() {
                NextFile::NotYet => {}
                NextFile::End => return found,
                NextFile::File(file) => {
                    let mut data = Vec::new();
                    File::from(file.content).read_to_end(&mut data).unwrap();
                    assert_eq!(file.path, data.len().to_string().into_bytes());
                    found.push(data.len());
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .iter()
            .map(|own| scope.spawn(|| read(&own[0])))
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), lengths);
        }
    });
}
