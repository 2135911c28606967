//! Hash tables of n-grams in which a lookup touches one cache line.
//!
//! A line of 64 bytes holds four n-grams with backoffs, or five of the highest order, and a key selects
//! its line, not its slot: the keys of a line are compared side by side. Lines fill from the first slot. One
//! that is full passes further n-grams on to the next line, and says so, by the only thing in it that is
//! still free: its first two keys descend. So a lookup goes on to a second line only where an n-gram did,
//! which is one line in nine at the load used here; that a line is full alone, one in four, is no reason.
//!
//! Keys are whole 64-bit hashes, as in KenLM, and 0 marks an empty slot.

use std::marker::PhantomData;

use gristmill_core::{Code, Error, Result};
use memmap2::MmapMut;

use super::Weights;

/// Slots used, of those there are, when a table is laid out for a known number of entries.
const LOAD: f64 = 0.65;
/// Slots used at most; a table that grows past this is laid out anew.
const MAX_LOAD: f64 = 0.85;

/// One cache line of a table.
///
/// # Safety
/// Implementors are `repr(C)` without padding bytes that are read, have an alignment of at most a page, and
/// are valid when all bytes are zero, which must mean a line without entries.
pub(super) unsafe trait Line: Copy {
    /// What is kept of an n-gram.
    type Value: Copy;
    /// Entries in a line.
    const SLOTS: usize;
    /// Keys in order of insertion; 0 is an empty slot and only empty slots follow it.
    fn keys(&self) -> &[u64];
    /// The slot of a key that is in the line, any slot for one that is not.
    fn slot(&self, key: u64) -> usize;
    /// The value in a slot.
    fn value(&self, slot: usize) -> Self::Value;
    /// Sets a slot.
    fn set(&mut self, slot: usize, key: u64, value: Self::Value);

    /// The slot of a key.
    #[inline(always)]
    fn position(&self, key: u64) -> Option<usize> {
        let slot = self.slot(key);
        // The key of an empty slot must not be found in one.
        (self.keys()[slot] == key && key != 0).then_some(slot)
    }

    /// Whether n-grams of this line went on to the next.
    #[inline(always)]
    fn passed_on(&self) -> bool {
        let keys = self.keys();
        (keys[Self::SLOTS - 1] != 0) & (keys[0] > keys[1])
    }

    /// Brings the first two keys of a full line into the order that says whether it passed on.
    fn say_passed_on(&mut self, passed_on: bool) {
        let keys = self.keys();
        if (keys[0] > keys[1]) != passed_on {
            let (first, second) = ((keys[0], self.value(0)), (keys[1], self.value(1)));
            self.set(0, second.0, second.1);
            self.set(1, first.0, first.1);
        }
    }
}

/// Four n-grams of a middle order.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct MiddleLine {
    keys: [u64; 4],
    prob: [f32; 4],
    backoff: [f32; 4],
}

// SAFETY: repr(C), 64 bytes of integers and floats without padding, zero is a line of empty slots.
unsafe impl Line for MiddleLine {
    type Value = Weights;
    const SLOTS: usize = 4;

    #[inline(always)]
    fn keys(&self) -> &[u64] {
        &self.keys
    }

    #[inline(always)]
    fn slot(&self, key: u64) -> usize {
        let k = &self.keys;
        (k[1] == key) as usize | (((k[2] == key) as usize) << 1) | ((k[3] == key) as usize * 3)
    }

    #[inline(always)]
    fn value(&self, slot: usize) -> Weights {
        Weights { prob: self.prob[slot & 3], backoff: self.backoff[slot & 3] }
    }

    fn set(&mut self, slot: usize, key: u64, value: Weights) {
        self.keys[slot] = key;
        self.prob[slot] = value.prob;
        self.backoff[slot] = value.backoff;
    }
}

/// Five n-grams of the highest order.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct LongestLine {
    keys: [u64; 5],
    prob: [f32; 5],
    unused: u32,
}

// SAFETY: repr(C), 64 bytes of integers and floats without padding, zero is a line of empty slots.
unsafe impl Line for LongestLine {
    type Value = f32;
    const SLOTS: usize = 5;

    #[inline(always)]
    fn keys(&self) -> &[u64] {
        &self.keys
    }

    #[inline(always)]
    fn slot(&self, key: u64) -> usize {
        let k = &self.keys;
        let at = (k[1] == key) as usize
            | (((k[2] == key) as usize) << 1)
            | ((k[3] == key) as usize * 3)
            | (((k[4] == key) as usize) << 2);
        // Several match only for the key of an empty slot.
        at.min(4)
    }

    #[inline(always)]
    fn value(&self, slot: usize) -> f32 {
        self.prob[slot]
    }

    fn set(&mut self, slot: usize, key: u64, value: f32) {
        self.keys[slot] = key;
        self.prob[slot] = value;
    }
}

/// A zeroed array in pages of its own, huge ones where the system grants them: with small pages a random
/// lookup costs a page walk besides the cache miss.
struct Pages<T> {
    map: MmapMut,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Line> Pages<T> {
    fn zeroed(len: usize) -> Result<Self> {
        let refused = |e: &dyn std::fmt::Display| {
            Error::new(Code::OutOfMemory, format!("no memory for a table of {len} cache lines: {e}"))
        };
        let bytes = len.checked_mul(size_of::<T>()).ok_or_else(|| refused(&"the size overflows"))?;
        let map = MmapMut::map_anon(bytes).map_err(|e| refused(&e))?;
        // Advice only: without it the table works, slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map, len, of: PhantomData })
    }

    #[inline(always)]
    fn as_slice(&self) -> &[T] {
        // SAFETY: the map is `len * size_of::<T>()` bytes long, starts at a page boundary, was zeroed at
        // its creation, which is a valid `T` by the contract of `Line`, and is written only as `T`.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast(), self.len) }
    }

    #[inline(always)]
    fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.map.as_mut_ptr().cast(), self.len) }
    }
}

/// See [`Table::first_line`].
pub(super) struct FirstLine<V> {
    pub(super) found: bool,
    /// Whether a further line has to be asked.
    pub(super) passed_on: bool,
    /// The value, where it was found.
    pub(super) value: V,
}

/// A table of n-grams of one order.
pub(super) struct Table<L: Line> {
    lines: Pages<L>,
    entries: usize,
}

impl<L: Line> Table<L> {
    /// An empty table laid out for `entries` n-grams; it grows beyond them.
    pub(super) fn with_capacity(entries: usize) -> Result<Self> {
        let lines = (entries as f64 / (LOAD * L::SLOTS as f64)).ceil() as usize;
        Ok(Self { lines: Pages::zeroed(lines.max(1))?, entries: 0 })
    }

    /// Number of n-grams.
    pub(super) fn len(&self) -> usize {
        self.entries
    }

    /// Bytes that the table occupies.
    pub(super) fn bytes(&self) -> usize {
        self.lines.map.len()
    }

    #[inline(always)]
    fn line_of(&self, key: u64) -> usize {
        ((u128::from(key) * self.lines.len as u128) >> 64) as usize
    }

    /// Starts to load the line of a key.
    #[inline(always)]
    pub(super) fn prefetch(&self, key: u64) {
        prefetch(self.lines.map.as_ptr().wrapping_add(self.line_of(key) * size_of::<L>()));
    }

    /// The value of a key.
    #[inline]
    pub(super) fn get(&self, key: u64) -> Option<L::Value> {
        self.find(key).map(|(at, slot)| self.lines.as_slice()[at].value(slot))
    }

    /// What the first line of a key says about it. Free of branches, for use on many keys in a row: which of
    /// them are there follows no pattern that a processor could guess.
    #[inline(always)]
    pub(super) fn first_line(&self, key: u64) -> FirstLine<L::Value> {
        let line = &self.lines.as_slice()[self.line_of(key)];
        let slot = line.slot(key);
        let found = (line.keys()[slot] == key) & (key != 0);
        FirstLine { found, passed_on: !found & line.passed_on(), value: line.value(slot) }
    }

    /// Starts to load the second line of a key.
    #[inline(always)]
    pub(super) fn prefetch_second(&self, key: u64) {
        let at = self.after(self.line_of(key));
        prefetch(self.lines.map.as_ptr().wrapping_add(at * size_of::<L>()));
    }

    /// Line and slot of a key.
    #[inline]
    fn find(&self, key: u64) -> Option<(usize, usize)> {
        let lines = self.lines.as_slice();
        let mut at = self.line_of(key);
        loop {
            let line = &lines[at];
            if let Some(slot) = line.position(key) {
                return Some((at, slot));
            }
            if !line.passed_on() {
                return None;
            }
            at = self.after(at);
        }
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.lines.len { 0 } else { at + 1 }
    }

    /// Adds an n-gram.
    ///
    /// # Errors
    /// When the key is 0 or is there already, be it that an n-gram comes twice or that two share a hash.
    pub(super) fn insert(&mut self, key: u64, value: L::Value) -> Result<()> {
        if (self.entries + 1) as f64 > MAX_LOAD * (self.lines.len * L::SLOTS) as f64 {
            self.grow()?;
        }
        let mut at = self.line_of(key);
        loop {
            let line = &mut self.lines.as_mut_slice()[at];
            if key == 0 || line.position(key).is_some() {
                let message = "an n-gram comes twice, or two share one hash";
                return Err(Error::new(Code::InvalidModel, message));
            }
            if let Some(slot) = line.keys().iter().position(|k| *k == 0) {
                line.set(slot, key, value);
                if slot + 1 == L::SLOTS {
                    line.say_passed_on(false);
                }
                self.entries += 1;
                return Ok(());
            }
            line.say_passed_on(true);
            at = self.after(at);
        }
    }

    /// Changes the value of a key; `None` when it is absent.
    pub(super) fn update<R>(&mut self, key: u64, change: impl FnOnce(&mut L::Value) -> R) -> Option<R> {
        let (at, slot) = self.find(key)?;
        let line = &mut self.lines.as_mut_slice()[at];
        let mut value = line.value(slot);
        let result = change(&mut value);
        line.set(slot, key, value);
        Some(result)
    }

    fn grow(&mut self) -> Result<()> {
        let mut larger = Self::with_capacity(self.entries + self.entries / 2 + L::SLOTS)?;
        for line in self.lines.as_slice() {
            for (slot, key) in line.keys().iter().enumerate().take_while(|(_, key)| **key != 0) {
                larger.insert(*key, line.value(slot))?;
            }
        }
        *self = larger;
        Ok(())
    }
}

/// Asks for the cache line at an address; any address will do, mapped or not.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 is part of the x86-64 baseline and never faults.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: PRFM is part of the ARMv8 baseline, never faults and changes no register.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u64) -> u64 {
        gristmill_core::hash::hash64(7, &i.to_le_bytes()) | 1
    }

    #[test]
    fn lines_are_cache_lines() {
        assert_eq!((size_of::<MiddleLine>(), size_of::<LongestLine>()), (64, 64));
    }

    #[test]
    fn holds_what_was_inserted_across_growth_and_full_lines() {
        let mut t = Table::<MiddleLine>::with_capacity(3).unwrap();
        for i in 0..10_000 {
            t.insert(key(i), Weights { prob: i as f32, backoff: -(i as f32) }).unwrap();
        }
        for i in 0..10_000 {
            let w = t.get(key(i)).unwrap();
            assert_eq!((w.prob, w.backoff), (i as f32, -(i as f32)));
        }
        assert!((10_000..20_000).all(|i| t.get(key(i)).is_none()));
        assert_eq!(t.len(), 10_000);
    }

    #[test]
    fn a_line_that_is_full_passes_on_and_wraps() {
        // Keys near 2^64 all select the last line of a table of few lines.
        let mut t = Table::<LongestLine>::with_capacity(20).unwrap();
        for i in 0..16 {
            t.insert(u64::MAX - i, i as f32).unwrap();
        }
        assert!((0..16).all(|i| t.get(u64::MAX - i) == Some(i as f32)));
        assert_eq!(t.get(u64::MAX - 16), None);
    }

    #[test]
    fn refuses_a_key_twice_and_the_empty_key() {
        let mut t = Table::<LongestLine>::with_capacity(1).unwrap();
        t.insert(5, -1.0).unwrap();
        assert_eq!(t.insert(5, -2.0).unwrap_err().code(), Code::InvalidModel);
        assert_eq!(t.insert(0, -2.0).unwrap_err().code(), Code::InvalidModel);
        assert_eq!(t.get(5), Some(-1.0));
        assert_eq!(t.get(0), None);
    }
}
