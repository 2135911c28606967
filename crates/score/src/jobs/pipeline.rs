//! Work spread over threads whose result does not depend on how many there are.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use gristmill_core::{Code, Control, Error, Progress, Result, Unit, panic_text};

/// Shards that are worked on at one time, at most: each holds a reader, a writer and a few batches.
const MAX_LANES: usize = 8;

/// Threads of a job: what was asked for, or what the process may use.
pub(crate) fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        None => Ok(std::thread::available_parallelism().map_or(1, |n| n.get())),
        Some(n) if (1..=1024).contains(&n) => Ok(n),
        Some(n) => Err(Error::invalid_argument("threads", format!("{n} is not between 1 and 1024"))),
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A panic in a worker is a defect, and must not leave the others waiting for its result.
fn guarded<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Error::new(Code::Internal, format!("a worker thread failed: {}", panic_text(&*panic))))
    })
}

/// What one lane may use, and when it must stop.
#[derive(Clone, Copy)]
pub(crate) struct Lane<'a> {
    /// Threads for this shard.
    pub(crate) threads: usize,
    control: &'a Control,
    failed: &'a AtomicBool,
}

impl<'a> Lane<'a> {
    /// The only lane of a job that has one.
    pub(crate) fn whole(threads: usize, control: &'a Control) -> Self {
        static NONE: AtomicBool = AtomicBool::new(false);
        Self { threads, control, failed: &NONE }
    }

    /// `Err` when the caller asked to stop or another lane failed (whose error is the one reported).
    pub(crate) fn check(&self) -> Result<()> {
        self.control.check()?;
        if self.failed.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Aborted, "another shard failed"));
        }
        Ok(())
    }
}

/// Calls `work` for every shard, several at a time when there are threads for it. The first error by
/// position in `shards` wins, as far as several are seen.
pub(crate) fn each_shard(
    shards: &[usize],
    threads: usize,
    control: &Control,
    work: impl Fn(usize, Lane<'_>) -> Result<()> + Sync,
) -> Result<()> {
    let lanes = threads.min(shards.len()).clamp(1, MAX_LANES);
    let failed = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let errors = Mutex::new(BTreeMap::new());
    let run = |lane: usize| {
        // The threads that do not divide evenly go to the first lanes.
        let threads = (threads / lanes + usize::from(lane < threads % lanes)).max(1);
        let lane = Lane { threads, control, failed: &failed };
        while lane.check().is_ok() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&shard) = shards.get(at) else { return };
            if let Err(e) = guarded(|| work(shard, lane)) {
                lock(&errors).insert((failed.swap(true, Ordering::Relaxed), at), e);
            }
        }
    };
    std::thread::scope(|scope| {
        for lane in 1..lanes {
            scope.spawn(move || run(lane));
        }
        run(0);
    });
    control.check()?;
    match errors.into_inner().unwrap_or_else(|e| e.into_inner()).into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Where results wait until it is their turn.
struct Turns<R> {
    taken: u64,
    given: u64,
    waiting: BTreeMap<u64, Result<R>>,
    /// Workers that have seen the end of the input.
    ended: usize,
    stop: bool,
}

/// Maps every item on the lane's threads, each with a state of its own from `init`, and gives the results
/// to `sink` in the order of the items. The first error in that order ends it, whatever the threads.
pub(crate) fn ordered<T: Send, R: Send, S>(
    items: impl Iterator<Item = Result<T>> + Send,
    lane: Lane<'_>,
    init: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, T) -> Result<R> + Sync,
    mut sink: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    if lane.threads == 1 {
        let mut state = init();
        for item in items {
            lane.check()?;
            sink(work(&mut state, item?)?)?;
        }
        return Ok(());
    }

    let window = lane.threads as u64 * 2;
    let items = Mutex::new(items.fuse());
    let turns = Mutex::new(Turns { taken: 0, given: 0, waiting: BTreeMap::new(), ended: 0, stop: false });
    let changed = Condvar::new();
    let wait = |turns| changed.wait(turns).unwrap_or_else(|e| e.into_inner());

    let worker = || {
        let mut state = init();
        loop {
            // The input is locked from before the number is drawn until the item is: numbers follow items.
            let mut source = lock(&items);
            let mut t = lock(&turns);
            while !t.stop && t.taken >= t.given + window {
                t = wait(t);
            }
            let number = t.taken;
            let stop = t.stop;
            drop(t);
            let item =
                if stop { None } else { guarded(|| Ok(source.next())).unwrap_or_else(|e| Some(Err(e))) };
            let mut t = lock(&turns);
            let Some(item) = item else {
                t.ended += 1;
                changed.notify_all();
                return;
            };
            t.taken += 1;
            drop(t);
            drop(source);
            let result = item.and_then(|item| guarded(|| work(&mut state, item)));
            lock(&turns).waiting.insert(number, result);
            changed.notify_all();
        }
    };

    std::thread::scope(|scope| {
        for _ in 0..lane.threads {
            scope.spawn(worker);
        }
        let drain = || -> Result<()> {
            loop {
                lane.check()?;
                let mut t = lock(&turns);
                let result = loop {
                    let turn = t.given;
                    if let Some(result) = t.waiting.remove(&turn) {
                        break result;
                    }
                    if t.ended == lane.threads {
                        return Ok(());
                    }
                    t = wait(t);
                };
                t.given += 1;
                drop(t);
                changed.notify_all();
                sink(result?)?;
            }
        };
        let outcome = guarded(drain);
        lock(&turns).stop = true;
        changed.notify_all();
        outcome
    })
}

/// Progress of one phase, counted by all threads together.
pub(crate) struct Meter<'a> {
    control: &'a Control,
    phase: &'static str,
    unit: Unit,
    /// 0 when it is not known.
    total: AtomicU64,
    done: AtomicU64,
    documents: AtomicU64,
    tokens: AtomicU64,
}

impl<'a> Meter<'a> {
    /// A phase that counts `unit`s out of `total`; says at once that it began.
    pub(crate) fn start(control: &'a Control, phase: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let zero = || AtomicU64::new(0);
        let total = AtomicU64::new(total.unwrap_or(0));
        let meter = Self { control, phase, unit, total, done: zero(), documents: zero(), tokens: zero() };
        meter.add(0, 0, 0);
        meter
    }

    /// Adds what was just done.
    pub(crate) fn add(&self, done: u64, documents: u64, tokens: u64) {
        let add = |counter: &AtomicU64, n| counter.fetch_add(n, Ordering::Relaxed) + n;
        let total = self.total.load(Ordering::Relaxed);
        self.control.report(&Progress {
            phase: self.phase,
            done: add(&self.done, done),
            total: (total > 0).then_some(total),
            unit: self.unit,
            documents: add(&self.documents, documents),
            tokens: add(&self.tokens, tokens),
        });
    }

    /// Says that the phase is done, whose total is then known.
    pub(crate) fn finish(self) {
        self.total.store(self.done.load(Ordering::Relaxed), Ordering::Relaxed);
        self.add(0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    fn with_lane<T>(threads: usize, test: impl FnOnce(Lane<'_>) -> T) -> T {
        test(Lane::whole(threads, &Control::default()))
    }

    /// Squares that take unequal time, so that threads overtake each other.
    fn squares(threads: usize, items: impl Iterator<Item = Result<u64>> + Send) -> (Vec<u64>, Result<()>) {
        let mut out = Vec::new();
        let result = with_lane(threads, |lane| {
            ordered(
                items,
                lane,
                || 0u64,
                |calls, n| {
                    *calls += 1;
                    std::thread::sleep(std::time::Duration::from_micros(n * 7919 % 300));
                    if n == 777 { Err(Error::new(Code::InvalidValue, "777")) } else { Ok(n * n) }
                },
                |square| {
                    out.push(square);
                    Ok(())
                },
            )
        });
        (out, result)
    }

    #[test]
    fn results_come_in_order_at_any_number_of_threads() {
        let expected: Vec<u64> = (0..500).map(|n| n * n).collect();
        for threads in [1, 2, 3, 8] {
            let (out, result) = squares(threads, (0..500).map(Ok));
            result.unwrap();
            assert_eq!(out, expected, "{threads} threads");
        }
    }

    #[test]
    fn the_first_error_in_order_ends_it() {
        for threads in [1, 2, 8] {
            // The input fails at 900, but the work fails before that, at 777.
            let input = (0..1000).map(|n| if n == 900 { Err(Error::new(Code::Io, "900")) } else { Ok(n) });
            let (out, result) = squares(threads, input);
            assert_eq!(result.unwrap_err().code(), Code::InvalidValue);
            assert_eq!(out.len(), 777, "{threads} threads");
        }
    }

    #[test]
    fn a_panic_is_an_error_and_no_hang() {
        with_lane(4, |lane| {
            let work = |_: &mut (), n: u64| if n == 50 { panic!("at {n}") } else { Ok(n) };
            let e = ordered((0..100).map(Ok), lane, || (), work, |_| Ok(())).unwrap_err();
            assert_eq!(e.code(), Code::Internal);
            assert!(e.message().contains("at 50"));
            let source = (0..100).map(|n| if n == 50 { panic!("source") } else { Ok(n) });
            let e = ordered(source, lane, || (), |(), n: u64| Ok(n), |_| Ok(())).unwrap_err();
            assert_eq!(e.code(), Code::Internal);
        });
    }

    #[test]
    fn a_sink_that_fails_stops_the_workers() {
        with_lane(4, |lane| {
            let source = (0u64..).map(Ok);
            let sink = |n| if n == 10 { Err(Error::new(Code::StorageFull, "full")) } else { Ok(()) };
            let e = ordered(source, lane, || (), |(), n| Ok(n), sink).unwrap_err();
            assert_eq!(e.code(), Code::StorageFull);
        });
    }

    #[test]
    fn every_shard_is_done_once_by_threads_that_add_up() {
        for threads in [1, 3, 8, 20] {
            let seen: Vec<AtomicU32> = (0..40).map(|_| AtomicU32::new(0)).collect();
            let shards: Vec<usize> = (0..40).filter(|n| n % 2 == 0).collect();
            each_shard(&shards, threads, &Control::default(), |shard, lane| {
                assert!(lane.threads >= 1 && lane.threads <= threads);
                seen[shard].fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .unwrap();
            let counts: Vec<u32> = seen.iter().map(|n| n.load(Ordering::Relaxed)).collect();
            assert!(counts.iter().enumerate().all(|(n, &c)| c == u32::from(n % 2 == 0)), "{counts:?}");
        }
    }

    #[test]
    fn a_failed_shard_is_the_error_that_is_reported() {
        let shards: Vec<usize> = (0..100).collect();
        let started = AtomicUsize::new(0);
        let e = each_shard(&shards, 4, &Control::default(), |shard, lane| {
            started.fetch_add(1, Ordering::Relaxed);
            if shard == 5 {
                return Err(Error::new(Code::CorruptData, "shard 5"));
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
            lane.check()
        })
        .unwrap_err();
        assert_eq!(e.code(), Code::CorruptData);
        assert!(started.into_inner() < 100, "the rest is not started");
    }

    #[test]
    fn cancelling_is_reported_as_such() {
        let control = Control::default();
        let e = each_shard(&[0, 1, 2], 2, &control, |_, lane| {
            control.cancel_token().cancel();
            lane.check()
        })
        .unwrap_err();
        assert_eq!(e.code(), Code::Aborted);
    }

    #[test]
    fn the_number_of_threads_is_checked() {
        assert_eq!(threads(Some(3)).unwrap(), 3);
        assert!(threads(None).unwrap() >= 1);
        for n in [0, 5000] {
            assert_eq!(threads(Some(n)).unwrap_err().code(), Code::InvalidArgument);
        }
    }
}
