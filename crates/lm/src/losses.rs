//! Losses of many windows: batches by length, two of them on their way, halved when memory runs out.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use gristmill_core::device::DeviceKind;
use gristmill_core::{Code, Control, DType, Device, Error, Progress, Result, Unit};

use crate::checkpoint::Checkpoint;
use crate::model::{Batch, Tokens, Transformer};
use crate::tokenizer::Tokenizer;

/// How to read a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// `f32` or `bf16`. By default `f32` for models of fewer than 10⁹ parameters, since `bf16` shifts small
    /// differences of losses, and `bf16` for others.
    pub dtype: Option<DType>,
    /// The most tokens that a window may have; by default the model's context, or [`LONGEST`] if that is less.
    pub longest: Option<usize>,
    /// Tokens of a batch; by default what fits the kind of device. A longer window is a batch by itself.
    pub batch_tokens: Option<usize>,
}

/// The longest window by default, in tokens.
pub const LONGEST: usize = 2048;

/// Parameters from which a model computes in `bf16` by default.
const LARGE: usize = 1_000_000_000;

/// The bytes of a batch's losses, once the device has them.
type Answer = Receiver<Result<Vec<u8>>>;

/// Batches that are enqueued before the losses of the first are read, so that a device never waits for the host.
const AHEAD: usize = 2;

/// A model with its tokenizer, on a device, that gives losses to tokens.
///
/// ```no_run
/// use gristmill_core::Control;
/// use gristmill_lm::{LanguageModel, LoadOptions, Tokens};
///
/// let model = LanguageModel::load("SmolLM2-135M", &gristmill_cpu::open()?, LoadOptions::default())?;
/// let ids = model.tokenizer().encode("The mill turns.")?;
/// let losses = model.losses(&[Tokens { ids: &ids, first: 1 }], &Control::default())?;
/// let perplexity = (losses[0].iter().map(|&x| f64::from(x)).sum::<f64>() / losses[0].len() as f64).exp();
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug)]
pub struct LanguageModel {
    transformer: Transformer,
    tokenizer: Tokenizer,
    fingerprint: String,
    batch_tokens: AtomicUsize,
}

impl LanguageModel {
    /// Reads a folder or a GGUF file, and puts the weights on the device.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`], of its tokenizer, and of [`Transformer::load`].
    pub fn load(path: impl AsRef<Path>, device: &Device, options: LoadOptions) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let config = checkpoint.config();
        let by_size = if config.parameters() < LARGE { DType::F32 } else { DType::Bf16 };
        let dtype = options.dtype.unwrap_or(by_size);
        let longest = options.longest.unwrap_or(LONGEST.min(config.context));
        let by_device = if device.info().kind == DeviceKind::Cpu { 2048 } else { 16_384 };
        let batch_tokens = options.batch_tokens.unwrap_or(by_device);
        if batch_tokens == 0 {
            return Err(Error::invalid_argument("batchTokens", "a batch has at least one token"));
        }
        let tokenizer = checkpoint.tokenizer()?;
        let transformer = Transformer::load(&checkpoint, device, dtype, longest)?;
        let fingerprint = checkpoint.fingerprint()?;
        Ok(Self { transformer, tokenizer, fingerprint, batch_tokens: AtomicUsize::new(batch_tokens) })
    }

    /// What turns text into its tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The weights and the forward pass.
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// The SHA-256 of its files; see [`Checkpoint::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Tokens of a batch now: what was asked for, or less since memory ran out.
    pub fn batch_tokens(&self) -> usize {
        self.batch_tokens.load(Ordering::Relaxed)
    }

    /// The losses of each window's targets, in nats. They do not depend on what else is asked for with them: windows
    /// are sorted by length and put together only to save work. When memory runs out, batches become half as large.
    /// Reports how many have theirs as the phase `losses`.
    ///
    /// # Errors
    /// [`Code::InvalidValue`] for a window that is longer than the model was loaded for;
    /// [`Code::OutOfMemory`] when a single window does not fit; [`Code::Aborted`]; those of the device.
    pub fn losses(&self, windows: &[Tokens], control: &Control) -> Result<Vec<Vec<f32>>> {
        let longest = self.transformer.longest();
        if let Some(window) = windows.iter().find(|w| w.inputs() > longest) {
            let what = format!("a window of {} tokens: the model was loaded for {longest}", window.inputs());
            return Err(Error::new(Code::InvalidValue, what));
        }
        let mut order: Vec<usize> = (0..windows.len()).filter(|&i| windows[i].targets() > 0).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(windows[i].inputs()), i));
        let mut losses = vec![Vec::new(); windows.len()];
        let (mut done, total) = (0, windows.iter().map(|w| w.targets() as u64).sum());
        let mut rest = &order[..];
        let mut ahead: VecDeque<(&[usize], Answer)> = VecDeque::new();
        while !rest.is_empty() || !ahead.is_empty() {
            control.check()?;
            if !rest.is_empty() && ahead.len() < AHEAD {
                let (now, later) = rest.split_at(self.together(windows, rest));
                ahead.push_back((now, self.enqueue(windows, now)?));
                rest = later;
                continue;
            }
            let Some((asked, answer)) = ahead.pop_front() else { break };
            let gone = || Err(Error::new(Code::DeviceLost, "the device's thread ended"));
            match answer.recv().unwrap_or_else(|_| gone()) {
                Ok(bytes) => {
                    let mut values = bytemuck::allocation::pod_collect_to_vec::<u8, f32>(&bytes).into_iter();
                    for &i in asked {
                        losses[i] = values.by_ref().take(windows[i].targets()).collect();
                        done += windows[i].targets() as u64;
                    }
                    control.report(&Progress {
                        phase: "losses",
                        done,
                        total: Some(total),
                        unit: Unit::Tokens,
                        documents: 0,
                        tokens: done,
                    });
                }
                Err(e) if e.code() == Code::OutOfMemory && asked.len() > 1 => {
                    // What was enqueued behind it is done again too: it was as large.
                    self.halve(asked.iter().map(|&i| windows[i].inputs()).sum());
                    ahead.clear();
                    let done = order.iter().position(|i| i == &asked[0]).unwrap_or(0);
                    rest = &order[done..];
                }
                Err(e) => return Err(e),
            }
        }
        Ok(losses)
    }

    /// How many windows of `order` make the next batch.
    fn together(&self, windows: &[Tokens], order: &[usize]) -> usize {
        let most = self.batch_tokens();
        let mut rows = 0;
        let fits = order.iter().take_while(|&&i| {
            rows += windows[i].inputs();
            rows <= most
        });
        fits.count().max(1)
    }

    fn enqueue(&self, windows: &[Tokens], order: &[usize]) -> Result<Answer> {
        let windows: Vec<Tokens> = order.iter().map(|&i| windows[i]).collect();
        let batch = Batch::new(self.transformer.device(), &windows)?;
        let (done, answer) = channel();
        self.transformer.losses(&batch)?.read_with(move |bytes| drop(done.send(bytes)));
        Ok(answer)
    }

    /// Makes batches half as large as one of so many rows, which did not fit.
    fn halve(&self, rows: usize) {
        self.batch_tokens.fetch_min((rows / 2).max(1), Ordering::Relaxed);
    }
}
