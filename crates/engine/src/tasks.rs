//! Work waiting for a free core, and what carries results back in order.
//!
//! [`TaskQueue`] hands tasks to worker threads, the urgent ones first. [`Slot`] is where one result
//! is put by a worker and taken by the thread that keeps the order. [`Budget`] bounds the bytes
//! that are under way. All of them end at once when the operation failed: waiting threads return.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a waiting thread sleeps before it looks whether the operation failed meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Locks, also after a panic of another thread: the data here is valid between any two statements.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In which order tasks are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Holds memory that others wait for.
    Urgent,
    /// Another thread waits for the result now, or soon.
    Soon,
    /// Anything else, in the order it came.
    Normal,
    /// As `Normal`, but holds resources for long: never taken by a thread that only helps out.
    Bulk,
}

#[derive(Debug)]
struct Waiting<T> {
    urgent: VecDeque<T>,
    soon: VecDeque<T>,
    normal: VecDeque<(u64, T)>,
    bulk: VecDeque<(u64, T)>,
    pushed: u64,
    closed: bool,
}

impl<T> Waiting<T> {
    /// The next task but bulk ones.
    fn next_light(&mut self) -> Option<T> {
        self.urgent
            .pop_front()
            .or_else(|| self.soon.pop_front())
            .or_else(|| self.normal.pop_front().map(|(_, task)| task))
    }

    fn next(&mut self) -> Option<T> {
        let before = |queue: &VecDeque<(u64, T)>| queue.front().map_or(u64::MAX, |first| first.0);
        let bulk_is_first = before(&self.bulk) < before(&self.normal);
        if bulk_is_first && self.urgent.is_empty() && self.soon.is_empty() {
            return self.bulk.pop_front().map(|(_, task)| task);
        }
        self.next_light()
    }
}

/// What ended the waiting for a task.
#[derive(Debug, PartialEq, Eq)]
pub enum Popped<T> {
    /// A task.
    Task(T),
    /// There is something else to do.
    Called,
    /// There will be no more tasks.
    Closed,
}

/// Tasks for worker threads.
#[derive(Debug)]
pub struct TaskQueue<T> {
    waiting: Mutex<Waiting<T>>,
    arrived: Condvar,
}

impl<T> Default for TaskQueue<T> {
    fn default() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                urgent: VecDeque::new(),
                soon: VecDeque::new(),
                normal: VecDeque::new(),
                bulk: VecDeque::new(),
                pushed: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
        }
    }
}

impl<T> TaskQueue<T> {
    /// Adds a task.
    pub fn push(&self, priority: Priority, task: T) {
        let mut waiting = lock(&self.waiting);
        waiting.pushed += 1;
        let number = waiting.pushed;
        match priority {
            Priority::Urgent => waiting.urgent.push_back(task),
            Priority::Soon => waiting.soon.push_back(task),
            Priority::Normal => waiting.normal.push_back((number, task)),
            Priority::Bulk => waiting.bulk.push_back((number, task)),
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Waits for a task, or until the thread is `called` to something else, or the queue was closed
    /// and is empty.
    pub fn pop(&self, called: impl Fn() -> bool) -> Popped<T> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(task) = waiting.next() {
                return Popped::Task(task);
            }
            if called() {
                return Popped::Called;
            }
            if waiting.closed {
                return Popped::Closed;
            }
            waiting = self
                .arrived
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets waiting threads look whether they are called.
    pub fn wake(&self) {
        drop(lock(&self.waiting));
        self.arrived.notify_all();
    }

    /// Waits until something arrives or a thread is woken, or so long.
    pub fn rest(&self, moment: Duration) {
        let waiting = lock(&self.waiting);
        drop(self.arrived.wait_timeout(waiting, moment));
    }

    /// Takes a task if there is one.
    pub fn try_pop(&self) -> Option<T> {
        lock(&self.waiting).next()
    }

    /// Takes a task that is not bulky, if there is one.
    pub fn try_pop_light(&self) -> Option<T> {
        lock(&self.waiting).next_light()
    }

    /// As [`TaskQueue::try_pop_light`], and waits a moment for one.
    pub fn pop_light_within(&self, moment: Duration) -> Option<T> {
        let mut waiting = lock(&self.waiting);
        let task = waiting.next_light();
        if task.is_some() || waiting.closed {
            return task;
        }
        let woken = self.arrived.wait_timeout(waiting, moment);
        waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        waiting.next_light()
    }

    /// Takes an urgent task if there is one.
    pub fn try_pop_urgent(&self) -> Option<T> {
        lock(&self.waiting).urgent.pop_front()
    }

    /// Lets the workers end when the queue is empty.
    pub fn close(&self) {
        lock(&self.waiting).closed = true;
        self.arrived.notify_all();
    }

    /// Drops what waits and lets the workers end.
    pub fn abandon(&self) {
        let mut waiting = lock(&self.waiting);
        waiting.urgent.clear();
        waiting.soon.clear();
        waiting.normal.clear();
        waiting.bulk.clear();
        waiting.closed = true;
        drop(waiting);
        self.arrived.notify_all();
    }
}

/// A place for one result.
#[derive(Debug)]
pub struct Slot<T> {
    result: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            result: Mutex::new(None),
            filled: Condvar::new(),
        }
    }
}

impl<T> Slot<T> {
    /// Puts the result.
    pub fn put(&self, result: T) {
        *lock(&self.result) = Some(result);
        self.filled.notify_all();
    }

    /// Tells whether the result is there.
    pub fn is_filled(&self) -> bool {
        lock(&self.result).is_some()
    }

    /// Looks at the result, none when it is not there yet.
    pub fn with<R>(&self, look: impl FnOnce(Option<&mut T>) -> R) -> R {
        look(lock(&self.result).as_mut())
    }

    /// Waits a moment for the result.
    pub fn wait(&self) {
        let result = lock(&self.result);
        if result.is_none() {
            drop(self.filled.wait_timeout(result, LOOK_AGAIN));
        }
    }

    /// Waits for the result; none when `failed` says that it will not come.
    pub fn take(&self, failed: impl Fn() -> bool) -> Option<T> {
        let mut result = lock(&self.result);
        loop {
            if let Some(result) = result.take() {
                return Some(result);
            }
            if failed() {
                return None;
            }
            result = self
                .filled
                .wait_timeout(result, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

/// Bytes that may be under way at one time.
#[derive(Debug)]
pub struct Budget {
    free: Mutex<usize>,
    total: usize,
    released: Condvar,
}

impl Budget {
    /// Allows `total` bytes.
    pub fn new(total: usize) -> Self {
        Self {
            free: Mutex::new(total),
            total,
            released: Condvar::new(),
        }
    }

    /// Takes `bytes` if so many are free. A request beyond the total is granted when nothing else
    /// is under way, so that it does not wait for ever.
    pub fn try_take(&self, bytes: usize) -> bool {
        let mut free = lock(&self.free);
        let cost = bytes.min(self.total);
        if *free < cost {
            return false;
        }
        *free -= cost;
        true
    }

    /// Takes `bytes`, waiting for them; false when `failed` says that waiting is over.
    pub fn take(&self, bytes: usize, failed: impl Fn() -> bool) -> bool {
        loop {
            if self.try_take(bytes) {
                return true;
            }
            if failed() {
                return false;
            }
            self.wait();
        }
    }

    /// Gives `bytes` back.
    pub fn give(&self, bytes: usize) {
        let mut free = lock(&self.free);
        *free = (*free + bytes.min(self.total)).min(self.total);
        drop(free);
        self.released.notify_all();
    }

    /// Waits until something was given back, or a short while.
    pub fn wait(&self) {
        let free = lock(&self.free);
        drop(self.released.wait_timeout(free, LOOK_AGAIN));
    }

    /// Waits until everything was given back; false when `failed` says that it will not be.
    pub fn wait_until_all_is_free(&self, failed: impl Fn() -> bool) -> bool {
        let mut free = lock(&self.free);
        while *free < self.total {
            if failed() {
                return false;
            }
            free = self
                .released
                .wait_timeout(free, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_tasks_come_first_and_a_closed_queue_ends() {
        let queue = TaskQueue::default();
        queue.push(Priority::Normal, 1);
        queue.push(Priority::Soon, 2);
        queue.push(Priority::Urgent, 3);
        queue.push(Priority::Bulk, 4);
        queue.push(Priority::Normal, 5);
        queue.close();
        let order: Vec<_> = (0..6).map(|_| queue.pop(|| false)).collect();
        let tasks = [3, 2, 1, 4, 5].map(Popped::Task);
        assert_eq!(order[..5], tasks);
        assert_eq!(order[5], Popped::Closed);
        assert_eq!(queue.pop(|| true), Popped::Called);
    }

    #[test]
    fn a_budget_never_lends_more_than_it_has() {
        let budget = Budget::new(10);
        assert!(budget.try_take(8));
        assert!(!budget.try_take(3));
        budget.give(8);
        assert!(
            budget.try_take(100),
            "a request beyond the total is granted alone"
        );
        assert!(!budget.try_take(1));
        budget.give(100);
        assert!(budget.wait_until_all_is_free(|| true));
    }

    #[test]
    fn waiting_ends_when_the_operation_failed() {
        let slot = Slot::<u8>::default();
        assert_eq!(slot.take(|| true), None);
        slot.put(7);
        assert_eq!(slot.take(|| true), Some(7));
    }
}
