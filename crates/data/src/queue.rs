//! A queue between a reading thread and its consumer, bounded by items and by bytes.
//!
//! A channel bounded by items alone would hold several batches of huge documents at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

const MAX_ITEMS: usize = 4;

pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    max_bytes: usize,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    done: bool,
    abandoned: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        let state = State { items: VecDeque::new(), bytes: 0, done: false, abandoned: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits for room; false when nobody will take the item any more.
    pub(crate) fn push(&self, item: T, bytes: usize) -> bool {
        let full = |s: &mut State<T>| {
            let heavy = s.bytes + bytes > self.max_bytes && !s.items.is_empty();
            !s.abandoned && (s.items.len() >= MAX_ITEMS || heavy)
        };
        let mut s = self.changed.wait_while(self.lock(), full).unwrap_or_else(|e| e.into_inner());
        if s.abandoned {
            return false;
        }
        s.bytes += bytes;
        s.items.push_back((item, bytes));
        self.changed.notify_all();
        true
    }

    /// No more items will come.
    pub(crate) fn finish(&self) {
        self.lock().done = true;
        self.changed.notify_all();
    }

    /// Nobody will take an item any more.
    pub(crate) fn abandon(&self) {
        let mut s = self.lock();
        s.abandoned = true;
        s.items.clear();
        self.changed.notify_all();
    }

    /// Waits for an item; `None` after the last.
    pub(crate) fn pop(&self) -> Option<T> {
        let empty = |s: &mut State<T>| s.items.is_empty() && !s.done;
        let mut s = self.changed.wait_while(self.lock(), empty).unwrap_or_else(|e| e.into_inner());
        let (item, bytes) = s.items.pop_front()?;
        s.bytes -= bytes;
        self.changed.notify_all();
        Some(item)
    }
}
