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
        let mut losses = Self::losses_of(&[self], windows, control)?;
        Ok(losses.pop().unwrap_or_default())
    }

    /// The same under several models, which must be on one device and mean the same by a token: batches are put together
    /// and uploaded once for all. The losses of each model in turn have the bits that it gives alone.
    ///
    /// # Errors
    /// Those of [`losses`](Self::losses); [`Code::DeviceMismatch`].
    pub fn losses_of(models: &[&Self], windows: &[Tokens], control: &Control) -> Result<Vec<Vec<Vec<f32>>>> {
        let Some(first) = models.first() else { return Ok(Vec::new()) };
        let device = first.transformer.device();
        if models.iter().any(|m| !m.transformer.device().same(device)) {
            return Err(Error::new(Code::DeviceMismatch, "models on different devices share no batches"));
        }
        let longest = models.iter().map(|m| m.transformer.longest()).min().unwrap_or(0);
        if let Some(window) = windows.iter().find(|w| w.inputs() > longest) {
            let what = format!("a window of {} tokens: the model was loaded for {longest}", window.inputs());
            return Err(Error::new(Code::InvalidValue, what));
        }
        let mut order: Vec<usize> = (0..windows.len()).filter(|&i| windows[i].targets() > 0).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(windows[i].inputs()), i));
        let mut losses = vec![vec![Vec::new(); windows.len()]; models.len()];
        let (mut done, total) = (0, windows.iter().map(|w| w.targets() as u64).sum());
        let mut rest = &order[..];
        let mut ahead: VecDeque<(&[usize], Vec<Answer>)> = VecDeque::new();
        while !rest.is_empty() || !ahead.is_empty() {
            control.check()?;
            if !rest.is_empty() && ahead.len() < AHEAD {
                let most = models.iter().map(|m| m.batch_tokens()).min().unwrap_or(1);
                let (now, later) = rest.split_at(together(windows, rest, most));
                ahead.push_back((now, enqueue(models, windows, now)?));
                rest = later;
                continue;
            }
            let Some((asked, answers)) = ahead.pop_front() else { break };
            let gone = || Err(Error::new(Code::DeviceLost, "the device's thread ended"));
            let answers = answers.iter().map(|answer| answer.recv().unwrap_or_else(|_| gone()));
            match answers.collect::<Result<Vec<_>>>() {
                Ok(all) => {
                    for (losses, bytes) in losses.iter_mut().zip(all) {
                        let mut values =
                            bytemuck::allocation::pod_collect_to_vec::<u8, f32>(&bytes).into_iter();
                        for &i in asked {
                            losses[i] = values.by_ref().take(windows[i].targets()).collect();
                        }
                    }
                    done += asked.iter().map(|&i| windows[i].targets() as u64).sum::<u64>();
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
                    let rows = asked.iter().map(|&i| windows[i].inputs()).sum();
                    models.iter().for_each(|m| m.halve(rows));
                    ahead.clear();
                    let done = order.iter().position(|i| i == &asked[0]).unwrap_or(0);
                    rest = &order[done..];
                }
                Err(e) => return Err(e),
            }
        }
        Ok(losses)
    }

    /// Makes batches half as large as one of so many rows, which did not fit.
    fn halve(&self, rows: usize) {
        self.batch_tokens.fetch_min((rows / 2).max(1), Ordering::Relaxed);
    }
}

/// How many windows of `order` make the next batch of `most` tokens.
fn together(windows: &[Tokens], order: &[usize], most: usize) -> usize {
    let mut rows = 0;
    let fits = order.iter().take_while(|&&i| {
        rows += windows[i].inputs();
        rows <= most
    });
    fits.count().max(1)
}

/// Puts windows together, and asks every model for their losses.
fn enqueue(models: &[&LanguageModel], windows: &[Tokens], order: &[usize]) -> Result<Vec<Answer>> {
    let windows: Vec<Tokens> = order.iter().map(|&i| windows[i]).collect();
    let batch = Batch::new(models[0].transformer.device(), &windows)?;
    let ask = |model: &&LanguageModel| {
        let (done, answer) = channel();
        model.transformer.losses(&batch)?.read_with(move |bytes| drop(done.send(bytes)));
        Ok(answer)
    };
    models.iter().map(ask).collect()
}
