//! Work on many things at once whose results are wanted in order.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender, bounded};

/// Applies `map` to all inputs on `threads` threads and hands the results to `consume` on this
/// thread, in the order of the inputs. At most `window` inputs are under way, so that memory is
/// bounded by that many inputs and results.
///
/// # Errors
/// The first error of `consume`; nothing more is begun then.
pub fn ordered<I, O, E>(
    threads: usize,
    window: usize,
    inputs: impl Iterator<Item = I>,
    map: impl Fn(I) -> O + Sync,
    consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
{
    let map = |(): &mut (), input| map(input);
    ordered_with(threads, window, inputs, || (), map, consume)
}

/// As [`ordered`], with something of its own for each thread, made by `equip`: buffers and the
/// like, which are used for one input after the other.
///
/// # Errors
/// The first error of `consume`; nothing more is begun then.
pub fn ordered_with<I, O, E, S>(
    threads: usize,
    window: usize,
    inputs: impl Iterator<Item = I>,
    equip: impl Fn() -> S + Sync,
    map: impl Fn(&mut S, I) -> O + Sync,
    mut consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
{
    if threads < 2 {
        let mut own = equip();
        for input in inputs {
            consume(map(&mut own, input))?;
        }
        return Ok(());
    }
    let work = |inbox: &Inbox<I>, outlet: &Outlet<O>| {
        let mut own = equip();
        while let Some((number, input)) = inbox.wait() {
            if !outlet.send(number, map(&mut own, input)) {
                return;
            }
        }
    };
    ordered_streams(threads, window, inputs, work, consume)
}

/// Where a thread takes its inputs from.
pub struct Inbox<I>(Receiver<(usize, I)>);

impl<I> Inbox<I> {
    /// Waits for an input and its number; none when there are no more.
    pub fn wait(&self) -> Option<(usize, I)> {
        self.0.recv().ok()
    }

    /// Takes an input if there is one now.
    pub fn take(&self) -> Option<(usize, I)> {
        self.0.try_recv().ok()
    }
}

/// Where a thread sends its results.
pub struct Outlet<O>(Sender<(usize, O)>);

impl<O> Outlet<O> {
    /// Sends the result of the input with this number; false when nobody wants it any more.
    #[must_use]
    pub fn send(&self, number: usize, result: O) -> bool {
        self.0.send((number, result)).is_ok()
    }
}

/// As [`ordered`], for threads that have several inputs under way: `work` runs once in each thread,
/// takes inputs as it likes and sends one result for each, in any order.
///
/// # Errors
/// The first error of `consume`; nothing more is begun then.
pub fn ordered_streams<I, O, E>(
    threads: usize,
    window: usize,
    inputs: impl Iterator<Item = I>,
    work: impl Fn(&Inbox<I>, &Outlet<O>) + Sync,
    mut consume: impl FnMut(O) -> Result<(), E>,
) -> Result<(), E>
where
    I: Send,
    O: Send,
{
    let window = window.max(threads);
    let (to_workers, inbox) = bounded::<(usize, I)>(window);
    let (to_consumer, results) = bounded::<(usize, O)>(window);
    std::thread::scope(|scope| {
        // Owned in here: the workers end when it is dropped, and the scope waits for them.
        let to_workers = to_workers;
        for _ in 0..threads {
            let (inbox, outlet) = (Inbox(inbox.clone()), Outlet(to_consumer.clone()));
            let work = &work;
            scope.spawn(move || work(&inbox, &outlet));
        }
        drop((inbox, to_consumer));
        let mut inputs = inputs.enumerate();
        let (mut under_way, mut next) = (0, 0);
        let mut early = BTreeMap::new();
        loop {
            while under_way < window {
                let Some(input) = inputs.next() else { break };
                if to_workers.send(input).is_err() {
                    break;
                }
                under_way += 1;
            }
            if under_way == 0 {
                return Ok(());
            }
            let Ok((index, result)) = results.recv() else {
                // Workers end early only by a panic, which the scope passes on.
                return Ok(());
            };
            early.insert(index, result);
            while let Some(result) = early.remove(&next) {
                next += 1;
                under_way -= 1;
                consume(result)?;
            }
        }
    })
}

/// The number of threads that make sense here: one a core.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_arrive_in_the_order_of_the_inputs() {
        for threads in [1, 2, 7] {
            let mut seen = Vec::new();
            let outcome: Result<(), ()> = ordered(
                threads,
                5,
                0..200u32,
                |number| {
                    if number % 3 == 0 {
                        std::thread::yield_now();
                    }
                    number * 2
                },
                |number| {
                    seen.push(number);
                    Ok(())
                },
            );
            assert_eq!(outcome, Ok(()));
            assert!(seen.iter().copied().eq((0..200).map(|number| number * 2)));
        }
    }

    #[test]
    fn several_may_be_under_way_in_a_thread() {
        let mut seen = Vec::new();
        let work = |inbox: &Inbox<u32>, outlet: &Outlet<u32>| {
            while let Some(first) = inbox.wait() {
                let mut taken = vec![first];
                taken.extend(std::iter::from_fn(|| inbox.take()).take(3));
                for (number, input) in taken.into_iter().rev() {
                    assert!(outlet.send(number, input + 1));
                }
            }
        };
        let outcome: Result<(), ()> = ordered_streams(3, 10, 0..100, work, |number| {
            seen.push(number);
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
        assert!(seen.into_iter().eq(1..=100));
    }

    #[test]
    fn the_first_error_ends_it() {
        let outcome = ordered(
            4,
            8,
            0..1000,
            |number| number,
            |number| if number == 10 { Err(number) } else { Ok(()) },
        );
        assert_eq!(outcome, Err(10));
    }
}
