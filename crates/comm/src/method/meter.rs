use std::time::Instant;

/// What a replica exchanged so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metering {
    /// Payloads that were made.
    pub encoded: u64,
    /// Rounds that were applied.
    pub applied: u64,
    /// Bytes of the payloads that were made.
    pub bytes_up: u64,
    /// Bytes of the payloads that were applied, one's own among them.
    pub bytes_down: u64,
    /// Bytes of the parameters in `f32`, over those of the last payload.
    pub compression: f64,
    /// Of the values of the parameters, the share that a payload has entries for.
    pub density: f64,
    /// Seconds spent making payloads, [`seal_seconds`](Self::seal_seconds) among them.
    pub encode_seconds: f64,
    /// Seconds spent hashing the parameters and writing payloads around what the device had made.
    pub seal_seconds: f64,
    /// Seconds spent applying payloads, [`verify_seconds`](Self::verify_seconds) among them.
    pub apply_seconds: f64,
    /// Seconds spent checking payloads.
    pub verify_seconds: f64,
}

impl Metering {
    /// Counts a payload that was made of so many values.
    pub(super) fn encoded(&mut self, payload: &[u8], values: u64, entries: u64, since: Instant) {
        self.encoded += 1;
        self.bytes_up += payload.len() as u64;
        self.compression = 4.0 * values as f64 / payload.len().max(1) as f64;
        self.density = entries as f64 / values.max(1) as f64;
        self.encode_seconds += since.elapsed().as_secs_f64();
    }

    /// Counts a round that was applied.
    pub(super) fn applied(&mut self, payloads: &[Vec<u8>], since: Instant) {
        self.applied += 1;
        self.bytes_down += payloads.iter().map(|p| p.len() as u64).sum::<u64>();
        self.apply_seconds += since.elapsed().as_secs_f64();
    }
}
