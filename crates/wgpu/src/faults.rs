//! Data that breaks an operation's contract, as kernels report it.
//!
//! Each operation that may fault gets a word of a buffer, 0 at first; its kernels raise it to `!row` of every row at
//! fault (the lowest row is the greatest of these; an integer maximum is the same in any order).

use gristmill_core::device::Fault;

use crate::window::Window;

/// Words: four times what the core keeps open before it asks.
pub(crate) const SLOTS: usize = 1024;

pub(crate) struct Faults {
    buffer: wgpu::Buffer,
    /// Serial numbers of the operations whose words are in use.
    serials: Vec<u64>,
    /// What was found while making room.
    found: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("faults"),
            size: 4 * SLOTS as u64,
            usage: crate::memory::USAGES,
            mapped_at_creation: false,
        });
        Self { buffer, serials: Vec::new(), found: Vec::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.serials.len() == SLOTS
    }

    /// A word for an operation.
    pub(crate) fn slot(&mut self, serial: u64) -> u32 {
        self.serials.push(serial);
        // At most SLOTS.
        (self.serials.len() - 1) as u32
    }

    pub(crate) fn window(&self) -> Window {
        Window::whole(&self.buffer)
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        4 * self.serials.len()
    }

    /// Takes in the words as they were read.
    pub(crate) fn collect(&mut self, words: &[u8]) {
        for (word, serial) in words.chunks_exact(4).zip(self.serials.drain(..)) {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            if word != 0 {
                self.found.push(Fault { serial, row: u64::from(!word) });
            }
        }
    }

    /// What was found since the last call.
    pub(crate) fn take(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.found)
    }
}
