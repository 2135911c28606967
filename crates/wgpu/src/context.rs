//! A device of wgpu with the work that was recorded for it and not yet submitted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gristmill_core::{Code, Error, Result};
use wgpu::{PollType, SubmissionIndex};

use crate::faults::Faults;
use crate::kernel::Pipeline;

/// Work that one submission holds at most, in bytes moved or operations done, whichever an operation counts: a small
/// part of a second on a slow adapter, so that no watchdog (2 s on Windows) fires and memory is soon free again.
const SUBMISSION_WORK: u64 = 1 << 32;
/// Dispatches and copies that one submission holds at most.
const SUBMISSION_COMMANDS: usize = 256;
/// Submissions that may be under way: enough that the device never waits for us, few enough that what they hold alive
/// stays little.
const SUBMISSIONS: usize = 4;
/// Bytes that one binding shows at most even where the adapter allows more: keeps a dispatch short, and element
/// numbers far below 2^32.
const WINDOW_BYTES: u64 = 512 << 20;
/// Scratch memory that is kept between operations.
const SCRATCH_KEPT: u64 = 64 << 20;

/// Bytes that a window shows at most where a binding may show so many.
pub(crate) fn window_bytes(limit: u64) -> u64 {
    // Room for the alignment on both sides.
    limit.min(WINDOW_BYTES) - 2 * crate::window::ALIGNMENT
}

/// What the driver told us by callback.
#[derive(Default)]
pub(crate) struct Notices {
    /// Why the device is gone.
    pub(crate) lost: OnceLock<String>,
    /// The first error that nobody asked for.
    error: Mutex<Option<String>>,
}

pub(crate) struct Context {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) subgroups: bool,
    /// Bytes that one binding may show.
    pub(crate) window_bytes: u64,
    pub(crate) faults: Faults,
    pub(crate) pipelines: HashMap<String, Arc<Pipeline>>,
    pub(crate) readback: Option<wgpu::Buffer>,
    notices: Arc<Notices>,
    encoder: Option<wgpu::CommandEncoder>,
    commands: usize,
    work: u64,
    flying: Vec<SubmissionIndex>,
    scratch: Vec<wgpu::Buffer>,
}

impl Context {
    pub(crate) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        subgroups: bool,
        window_bytes: Option<u64>,
    ) -> Result<Self> {
        let notices = Arc::new(Notices::default());
        let theirs = notices.clone();
        device.set_device_lost_callback(move |reason, message| {
            let _ = theirs.lost.set(format!("{reason:?}: {message}"));
        });
        let theirs = notices.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut first = theirs.error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }));
        let limit = device.limits().max_storage_buffer_binding_size;
        let window_bytes = self::window_bytes(window_bytes.unwrap_or(limit).min(limit));
        let faults = Faults::new(&device);
        Ok(Self {
            device,
            queue,
            subgroups,
            window_bytes,
            faults,
            pipelines: HashMap::new(),
            readback: None,
            notices,
            encoder: None,
            commands: 0,
            work: 0,
            flying: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// How many elements of this many bytes a window may show.
    pub(crate) fn window_len(&self, size: usize) -> usize {
        self.window_bytes as usize / size
    }

    /// An error if the device is gone or has complained.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(why) = self.notices.lost.get() {
            return Err(Error::new(Code::DeviceLost, format!("the device stopped working: {why}"))
                .hint("open it again, and make its tensors anew"));
        }
        match self.notices.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(why) => Err(Error::new(Code::Internal, why)),
            None => Ok(()),
        }
    }

    /// Records commands that count as so much work, and submits when enough are together.
    pub(crate) fn record(
        &mut self,
        work: u64,
        commands: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<()> {
        let device = &self.device;
        commands(self.encoder.get_or_insert_with(|| device.create_command_encoder(&Default::default())));
        self.commands += 1;
        self.work = self.work.saturating_add(work);
        if self.commands >= SUBMISSION_COMMANDS || self.work >= SUBMISSION_WORK {
            self.submit()?;
        }
        Ok(())
    }

    /// Submits what was recorded, after what the queue was told to write; lets finished memory go.
    pub(crate) fn submit(&mut self) -> Result<()> {
        let recorded = self.encoder.take().map(wgpu::CommandEncoder::finish);
        (self.commands, self.work) = (0, 0);
        self.flying.push(self.queue.submit(recorded));
        if self.flying.len() >= SUBMISSIONS {
            let oldest = self.flying.remove(0);
            self.poll(PollType::Wait { submission_index: Some(oldest), timeout: None })?;
        } else {
            self.poll(PollType::Poll)?;
        }
        self.check()
    }

    /// Submits, and waits for everything.
    pub(crate) fn wait(&mut self) -> Result<()> {
        self.submit()?;
        self.poll(PollType::wait_indefinitely())?;
        self.flying.clear();
        self.check()
    }

    fn poll(&self, how: PollType) -> Result<()> {
        self.device.poll(how).map(drop).map_err(|e| {
            self.check()
                .err()
                .unwrap_or_else(|| Error::new(Code::DeviceLost, format!("the device does not answer: {e}")))
        })
    }

    /// A new buffer.
    ///
    /// # Errors
    /// [`Code::OutOfMemory`].
    pub(crate) fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let most = self.device.limits().max_buffer_size;
        if bytes > most {
            return Err(Error::new(
                Code::OutOfMemory,
                format!("{bytes} bytes in one piece; the device allows {most}"),
            ));
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: bytes,
            usage,
            mapped_at_creation: false,
        });
        match pollster::block_on(scope.pop()) {
            Some(e) => Err(Error::new(Code::OutOfMemory, format!("cannot allocate {bytes} bytes: {e}"))),
            None => {
                self.check()?;
                Ok(buffer)
            }
        }
    }

    /// Memory for one operation, with any content; give it back with [`done_with`](Self::done_with). Everything runs
    /// in order, so the next operation may use it at once.
    pub(crate) fn scratch(&mut self, bytes: u64) -> Result<wgpu::Buffer> {
        let bytes = bytes.next_multiple_of(crate::window::ALIGNMENT).max(crate::window::ALIGNMENT);
        // The tightest fit, if none is wasteful.
        let fit = (0..self.scratch.len())
            .filter(|&i| (bytes..=bytes.saturating_mul(4)).contains(&self.scratch[i].size()))
            .min_by_key(|&i| self.scratch[i].size());
        match fit {
            Some(i) => Ok(self.scratch.swap_remove(i)),
            None => self.buffer(bytes, crate::memory::USAGES),
        }
    }

    /// Keeps scratch memory for the next operation that needs such.
    pub(crate) fn done_with(&mut self, buffer: wgpu::Buffer) {
        self.scratch.push(buffer);
        while self.scratch.iter().map(wgpu::Buffer::size).sum::<u64>() > SCRATCH_KEPT {
            self.scratch.remove(0);
        }
    }

    /// Lets all scratch memory go.
    pub(crate) fn free_scratch(&mut self) {
        self.scratch.clear();
        self.readback = None;
    }
}
