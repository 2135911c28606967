use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

use crate::{Code, Error, Result};

/// Random numbers that nobody can predict: ChaCha20 with a key from the operating system. Privacy claims rest on it;
/// it cannot be seeded, copied or saved, so that noise is never used twice.
pub struct SecureRng(ChaCha20Rng);

impl SecureRng {
    /// A generator with a fresh key.
    ///
    /// # Errors
    /// [`Code::Io`] when the operating system has no entropy to give; nothing weaker takes its place.
    pub fn from_os() -> Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)
            .map_err(|e| Error::new(Code::Io, format!("the operating system gives no random key: {e}")))?;
        Ok(Self(ChaCha20Rng::from_seed(key)))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes` with random bits.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }
}

impl std::fmt::Debug for SecureRng {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecureRng")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_generators_have_nothing_in_common_and_bits_are_balanced() {
        let (mut a, mut b) = (SecureRng::from_os().unwrap(), SecureRng::from_os().unwrap());
        let ones: u32 = (0..4096).map(|_| (a.bits() ^ b.bits()).count_ones()).sum();
        // 262,144 fair bits: 131,072 with a standard deviation of 256.
        assert!(ones.abs_diff(131_072) < 10 * 256, "{ones}");
        let mut bytes = [0; 64];
        a.fill(&mut bytes);
        assert_ne!(bytes, [0; 64]);
    }

    #[test]
    fn the_stream_cipher_is_the_published_one() {
        // RFC 8439, A.1, test vector 1: key, nonce and counter of zeros.
        let mut rng = ChaCha20Rng::from_seed([0; 32]);
        let mut block = [0; 8];
        rng.fill_bytes(&mut block);
        assert_eq!(block, [0x76, 0xB8, 0xE0, 0xAD, 0xA0, 0xF1, 0x3D, 0x90]);
    }
}
