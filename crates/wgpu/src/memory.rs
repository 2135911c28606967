//! Memory of the device: to it and back.

use std::sync::mpsc::channel;

use gristmill_core::{Code, Error, Result};
use wgpu::BufferUsages;

use crate::context::Context;
use crate::kernel::Kernel;
use crate::ops::copy;
use crate::window::{Window, pieces};

/// What the core's buffers hold.
pub(crate) struct Memory(pub(crate) wgpu::Buffer);

/// Tensors and scratch memory are read and written by kernels, and copied from and to.
pub(crate) const USAGES: BufferUsages =
    BufferUsages::STORAGE.union(BufferUsages::COPY_SRC).union(BufferUsages::COPY_DST);

/// Bytes that go over the bus in one piece; bounds the memory that transfers take beside the tensors.
const PIECE: usize = 32 << 20;

impl Context {
    /// Copies host bytes to `offset` of a buffer, in the order of everything else.
    pub(crate) fn upload(&mut self, dst: &wgpu::Buffer, offset: usize, src: &[u8]) -> Result<()> {
        if !offset.is_multiple_of(4) || !src.len().is_multiple_of(4) {
            return self.upload_unaligned(dst, offset, src);
        }
        // What was recorded comes first; the queue writes before the commands of the next submission.
        self.submit()?;
        for (first, len) in pieces(src.len(), PIECE) {
            self.queue.write_buffer(dst, (offset + first) as u64, &src[first..first + len]);
            self.submit()?;
        }
        Ok(())
    }

    /// Words at the ends belong to others in part: brings the bytes to scratch memory, and lets a kernel merge them.
    fn upload_unaligned(&mut self, dst: &wgpu::Buffer, offset: usize, src: &[u8]) -> Result<()> {
        for (first, len) in pieces(src.len(), PIECE.min(self.window_bytes as usize)) {
            let mut padded = src[first..first + len].to_vec();
            padded.resize(len.next_multiple_of(4), 0);
            let scratch = self.scratch(padded.len() as u64)?;
            self.upload(&scratch, 0, &padded)?;
            let out = Window::cut(dst, (offset + first) as u64, len as u64, 1);
            copy::elements(self, "u8", 1, &Window::whole(&scratch), &out, len)?;
            self.done_with(scratch);
        }
        Ok(())
    }

    /// Waits for everything before, and copies from `offset` of a buffer.
    pub(crate) fn download(&mut self, src: &wgpu::Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        for (first, len) in pieces(dst.len(), PIECE - 8) {
            // Copies are of whole words; the sizes of buffers are multiples of words too.
            let begin = (offset + first) / 4 * 4;
            let skip = offset + first - begin;
            let words = (skip + len).next_multiple_of(4);
            let staging = self.staging(words)?;
            self.record(words as u64, |encoder| {
                encoder.copy_buffer_to_buffer(src, begin as u64, &staging, 0, words as u64);
            })?;
            self.map_and_copy(&staging, skip, &mut dst[first..first + len])?;
        }
        Ok(())
    }

    /// A buffer that the host can read, of at least this size; kept for the next time.
    fn staging(&mut self, bytes: usize) -> Result<wgpu::Buffer> {
        match &self.readback {
            Some(buffer) if buffer.size() >= bytes as u64 => Ok(buffer.clone()),
            _ => {
                let bytes = bytes.next_power_of_two().max(1 << 16) as u64;
                let buffer = self.buffer(bytes, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
                self.readback = Some(buffer.clone());
                Ok(buffer)
            }
        }
    }

    fn map_and_copy(&mut self, staging: &wgpu::Buffer, skip: usize, dst: &mut [u8]) -> Result<()> {
        self.submit()?;
        let words = (skip + dst.len()).next_multiple_of(4);
        let slice = staging.slice(..words as u64);
        let (mapped, answer) = channel();
        slice.map_async(wgpu::MapMode::Read, move |result| drop(mapped.send(result)));
        self.wait()?;
        let broken =
            |why: String| Error::new(Code::DeviceLost, format!("cannot read from the device: {why}"));
        answer.recv().map_err(|e| broken(e.to_string()))?.map_err(|e| broken(e.to_string()))?;
        let view = slice.get_mapped_range().map_err(|e| broken(e.to_string()))?;
        dst.copy_from_slice(&view[skip..skip + dst.len()]);
        drop(view);
        staging.unmap();
        Ok(())
    }

    /// Waits for everything, and takes in what kernels reported.
    pub(crate) fn settle_faults(&mut self) -> Result<()> {
        let bytes = self.faults.bytes();
        if bytes == 0 {
            return self.wait();
        }
        let buffer = self.faults.window().buffer;
        let mut words = vec![0; bytes];
        self.download(&buffer, 0, &mut words)?;
        self.record(0, |encoder| encoder.clear_buffer(&buffer, 0, Some(bytes as u64)))?;
        self.faults.collect(&words);
        Ok(())
    }

    /// A word for an operation's faults.
    pub(crate) fn fault_slot(&mut self, serial: u64) -> Result<u32> {
        if self.faults.is_full() {
            self.settle_faults()?;
        }
        Ok(self.faults.slot(serial))
    }

    /// A kernel of this name, to be described and run.
    pub(crate) fn kernel(&self, name: &'static str) -> Kernel {
        Kernel::new(name, self.subgroups)
    }
}
