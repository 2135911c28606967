use gristmill_core::{Device, Result, Tensor};

/// Windows of one or more documents, side by side on a device.
#[derive(Debug)]
pub struct Batch {
    /// Input tokens, `[rows]`, `u32`.
    pub(super) ids: Tensor,
    /// The place of each in its window, `[rows]`, `u32`.
    pub(super) positions: Tensor,
    /// Where windows begin, and the end, `[windows + 1]`, `u32`.
    pub(super) offsets: Tensor,
    /// The rows whose predictions count; all when `None`.
    pub(super) scored: Option<Tensor>,
    /// What these rows should predict, `[targets]`, `u32`.
    pub(super) targets: Tensor,
}

/// A window's tokens; those from `first` on are predicted, each from all before it.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a> {
    /// Input and targets; the last is only a target.
    pub ids: &'a [u32],
    /// The first target; at least 1.
    pub first: usize,
}

impl Tokens<'_> {
    /// How many rows the model has for it.
    pub fn inputs(&self) -> usize {
        self.ids.len().saturating_sub(1)
    }

    /// How many losses it has.
    pub fn targets(&self) -> usize {
        self.ids.len().saturating_sub(self.first.max(1))
    }
}

impl Batch {
    /// Puts these windows on the device, in this order.
    ///
    /// # Errors
    /// [`gristmill_core::Code::Disposed`].
    pub fn new(device: &Device, windows: &[Tokens]) -> Result<Self> {
        let rows: usize = windows.iter().map(Tokens::inputs).sum();
        let wanted: usize = windows.iter().map(Tokens::targets).sum();
        let mut ids = Vec::with_capacity(rows);
        let mut positions = Vec::with_capacity(rows);
        let mut offsets = vec![0];
        let mut scored = Vec::with_capacity(wanted);
        let mut targets = Vec::with_capacity(wanted);
        for window in windows {
            let first_row = ids.len();
            let first = window.first.max(1);
            ids.extend_from_slice(&window.ids[..window.inputs()]);
            positions.extend(0..window.inputs() as u32);
            // The row before a token predicts it.
            scored.extend((first..window.ids.len()).map(|target| (first_row + target - 1) as u32));
            targets.extend_from_slice(window.ids.get(first..).unwrap_or_default());
            offsets.push(ids.len() as u32);
        }
        let vector = |values: Vec<u32>| {
            let len = values.len();
            device.tensor(values, [len])
        };
        Ok(Self {
            scored: (wanted < rows).then(|| vector(scored)).transpose()?,
            ids: vector(ids)?,
            positions: vector(positions)?,
            offsets: vector(offsets)?,
            targets: vector(targets)?,
        })
    }
}
