use gristmill_core::rng::{Philox, uniform};

/// Random numbers for the inputs of a case.
pub(crate) struct Draw {
    sequence: Philox,
    next: u64,
}

impl Draw {
    /// The sequence that belongs to a seed and a name: whatever other cases run.
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        // FNV-1a, to give every name a stream of its own.
        let stream = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
        Self { sequence: Philox::new(seed, stream), next: 0 }
    }

    pub(crate) fn bits(&mut self) -> u32 {
        self.next += 1;
        self.sequence.bits(self.next - 1)
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(n + 4);
        while bytes.len() < n {
            bytes.extend(self.bits().to_ne_bytes());
        }
        bytes.truncate(n);
        bytes
    }

    /// Uniform on (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        uniform(self.bits()).into()
    }

    /// Standard normal.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of `0..n`, which must not be empty.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.bits()) * n as u64) >> 32) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
