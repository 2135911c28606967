//! Sizes at which launches look different, beyond those of the table: beside the CPU's results, or known ones.

use std::sync::{Arc, Mutex};

use gristmill_core::ops::{
    ClipLinearOptions, ClipPath, ClipRule, MatmulOptions, NllOptions, NormsMethod, NormsOptions, Reduction,
};
use gristmill_core::rng::Philox;
use gristmill_core::{Code, DType, Device, DeviceInfo, Result, Tensor};
use gristmill_cuda::Cuda;
use gristmill_cuda::driver::{Driver, Launch, Memory};

use crate::driver::{Options, open};

/// Numbers between -1 and 1.
fn numbers(stream: u64, n: usize) -> Vec<f32> {
    let sequence = Philox::new(11, stream);
    (0..n as u64).map(|g| sequence.bits(g) as i32 as f32 / 2f32.powi(31)).collect()
}

/// What `work` gives on the host's kernels and on the scalar reference, or `None` where those can be skipped.
fn both<T>(work: impl Fn(&Device) -> Result<T>) -> Option<[T; 2]> {
    let device = open(Options { order: 3, ..Options::default() })?;
    let reference = gristmill_cpu::open_reference().unwrap();
    Some([work(&device).unwrap(), work(&reference).unwrap()])
}

fn tensor(device: &Device, stream: u64, shape: [usize; 2], dtype: DType) -> Result<Tensor> {
    device.tensor(numbers(stream, shape[0] * shape[1]), shape)?.cast(dtype)
}

fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance, "element {i} is {g} instead of {w}");
    }
}

/// More rows of tiles than a band has, in whole bands and a rest.
#[test]
fn products_of_several_bands_of_tiles() {
    for dtype in [DType::F32, DType::Bf16] {
        let product = |device: &Device| {
            let a = tensor(device, 0, [9 * 128 + 5, 40], dtype)?;
            let b = tensor(device, 1, [40, 2 * 128 + 1], dtype)?;
            a.matmul(&b, MatmulOptions { dtype: Some(DType::F32), ..Default::default() })?.to_vec::<f32>()
        };
        let Some([got, want]) = both(product) else { return };
        assert_close(&got, &want, 1e-5);
    }
}

/// A driver that runs nothing and remembers what it was asked to.
struct Recorder(Arc<Mutex<Vec<Launch>>>);

struct NoMemory;

impl Memory for NoMemory {
    fn address(&self) -> u64 {
        1 << 40
    }
}

impl Driver for Recorder {
    fn info(&self) -> Arc<DeviceInfo> {
        Arc::new(crate::driver::info())
    }
    fn alloc(&self, _: usize) -> Result<Box<dyn Memory>> {
        Ok(Box::new(NoMemory))
    }
    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(())
    }
    fn read(&self, _: u64, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
    fn launch(&self, launch: Launch) -> Result<()> {
        self.0.lock().unwrap().push(launch);
        Ok(())
    }
    fn synchronize(&self) -> Result<()> {
        Ok(())
    }
}

/// What is launched for `work`.
fn launches(work: impl FnOnce(&Device) -> Result<()>) -> Vec<Launch> {
    let recorded = Arc::new(Mutex::new(Vec::new()));
    let theirs = recorded.clone();
    let device = Device::open(move || Ok(Box::new(Cuda::new(Box::new(Recorder(theirs)))?))).unwrap();
    work(&device).unwrap();
    device.synchronize().unwrap();
    std::mem::take(&mut *recorded.lock().unwrap())
}

/// More products than the z dimension of a grid has: the rest is another launch, further along.
#[test]
fn products_of_a_batch_larger_than_a_grid() {
    let launches = launches(|device| {
        let a = device.empty(DType::F32, [65_535 + 3, 2, 5])?;
        let b = device.empty(DType::F32, [65_535 + 3, 5, 3])?;
        a.matmul(&b, MatmulOptions::default()).map(drop)
    });
    let grids: Vec<_> = launches.iter().map(|l| l.grid).collect();
    assert_eq!(grids, [[1, 1, 65_535], [1, 1, 3]]);
    // Addresses of a, b and out, each but the last followed by a leading dimension.
    let word =
        |launch: &Launch, at: usize| u64::from_ne_bytes(launch.args[8 * at..][..8].try_into().unwrap());
    for (at, elements) in [(0, 2 * 5), (2, 5 * 3), (4, 2 * 3)] {
        assert_eq!(word(&launches[1], at) - word(&launches[0], at), 65_535 * elements * 4);
    }
    assert_eq!((word(&launches[1], 1), word(&launches[1], 3)), (5, 3));
}

/// Long rows that are few are shared by blocks, and merged; many are not.
#[test]
fn rows_are_shared_out_by_their_sizes() {
    let shapes = [
        ([2, 100_000], vec![[2, 6, 1], [1, 1, 1]]),
        ([5000, 2000], vec![[5000, 1, 1]]),
        ([900, 64], vec![[113, 1, 1]]),
    ];
    for (shape, grids) in shapes {
        let launches =
            launches(|device| device.empty(DType::F32, shape)?.row_reduce(Reduction::Sum).map(drop));
        assert_eq!(launches.iter().map(|l| l.grid).collect::<Vec<_>>(), grids, "{shape:?}");
    }
}

/// Nothing is launched for nothing.
#[test]
fn empty_tensors_launch_nothing() {
    let launches = launches(|device| {
        let x = device.empty(DType::F32, [0, 7])?;
        x.copy()?;
        x.cast(DType::Bf16)?;
        x.scale(2.0)?;
        x.row_reduce(Reduction::Max)?;
        x.softmax_stats()?;
        device.empty(DType::F32, [0])?.topk(1, 4)?;
        x.matmul(&device.empty(DType::F32, [7, 3])?, MatmulOptions::default())?;
        device.zeros(DType::U8, [0])?;
        Ok(())
    });
    assert!(launches.is_empty(), "{launches:?}");
}

/// Blocks that walk along several tiles of the vocabulary, the last group with fewer.
#[test]
fn losses_of_groups_of_tiles() {
    for dtype in [DType::F32, DType::Bf16] {
        let loss = |device: &Device| {
            let (rows, vocab) = (130, 128 * 521 + 3);
            let hidden = tensor(device, 0, [rows, 8], dtype)?;
            let head = tensor(device, 1, [vocab, 8], dtype)?;
            let targets = (0..rows).map(|r| (r * 509 % vocab) as u32).collect();
            hidden.linear_nll(&head, &device.tensor(targets, [rows])?, NllOptions::default())?.to_vec::<f32>()
        };
        let Some([got, want]) = both(loss) else { return };
        assert_close(&got, &want, 1e-4);
    }
}

/// A list that no block can sort alone, with many ties.
#[test]
fn entries_of_a_long_list() {
    let top = |device: &Device| {
        let x = numbers(0, 30_000).iter().map(|x| (x * 500.0).round()).collect::<Vec<_>>();
        let top = device.tensor(x, [30_000])?.topk(10_000, 15_001)?;
        Ok((top.values.to_vec::<f32>()?, top.indices.to_vec::<u32>()?))
    };
    let Some([got, want]) = both(top) else { return };
    assert!(got == want);
}

/// What cancels has the bits of the gradient itself, and the rest has not.
#[test]
fn only_norms_whose_terms_cancel_are_made_of_gradients() {
    // Forty samples of twelve rows, and one of two.
    let (rows, [d, p]) = (482, [3, 2]);
    let ends: Vec<u32> = (0..=40).map(|sample| 12 * sample).chain([482]).collect();
    for dtype in [DType::F32, DType::Bf16] {
        let norms = |device: &Device, method| {
            let (mut x, mut dy) = (numbers(0, rows * d), numbers(1, rows * p));
            // Of the last two rows, the inputs of the first are three times those of the second, nearly, and the gradients
            // of the second minus three times those of the first.
            let (last, but_one) = ((rows - 1) * d, (rows - 2) * d);
            (0..d).for_each(|i| x[but_one + i] = 3.0 * x[last + i]);
            x[last] += 0.01;
            let (last, but_one) = ((rows - 1) * p, (rows - 2) * p);
            (0..p).for_each(|i| dy[last + i] = -3.0 * dy[but_one + i]);
            let x = device.tensor(x, [rows, d])?.cast(dtype)?;
            let dy = device.tensor(dy, [rows, p])?.cast(dtype)?;
            let options = NormsOptions { bias: false, method: Some(method) };
            x.per_sample_norms(&dy, &device.tensor(ends.clone(), [42])?, options)?.to_vec::<f32>()
        };
        let Some([gram, want]) = both(|device| norms(device, NormsMethod::Gram)) else { return };
        let Some([direct, _]) = both(|device| norms(device, NormsMethod::Direct)) else { return };
        for (got, want) in gram.iter().zip(&want) {
            assert!((got / want - 1.0).abs() < 1e-5, "{got} instead of {want}");
        }
        assert_eq!(gram[40].to_bits(), direct[40].to_bits());
        assert!(gram[..40].iter().zip(&direct).any(|(a, b)| a.to_bits() != b.to_bits()), "{gram:?}");
    }
}

/// More tiles of rows than blocks share them, and more columns than are added up one after the other.
#[test]
fn norms_of_many_rows_and_columns_are_those_of_the_gradient() {
    for (rows, [d, p]) in [(1300, [160, 120]), (20, [600, 1100])] {
        let norms = |device: &Device| {
            let x = tensor(device, 0, [rows, d], DType::F32)?;
            let dy = tensor(device, 1, [rows, p], DType::F32)?;
            let options = NormsOptions { bias: true, method: Some(NormsMethod::Gram) };
            x.per_sample_norms(&dy, &device.tensor(vec![0u32, rows as u32], [2])?, options)?.to_vec::<f32>()
        };
        let Some([got, want]) = both(norms) else { return };
        assert!((got[0] / want[0] - 1.0).abs() < 1e-6, "{got:?} instead of {want:?}");
    }
}

/// The method of fewest operations is on the device, and those made directly are few enough blocks that find nothing.
#[test]
fn norms_by_products_of_rows_are_what_is_launched_where_they_are_fewer_operations() {
    let names = |rows: usize, [d, p]: [usize; 2]| -> Vec<String> {
        let launches = launches(|device| {
            let (x, dy) = (device.empty(DType::Bf16, [rows, d])?, device.empty(DType::Bf16, [rows, p])?);
            let offsets = device.empty(DType::U32, [3])?;
            x.per_sample_norms(&dy, &offsets, NormsOptions::default()).map(drop)
        });
        launches.into_iter().map(|l| format!("{} {:?}", l.kernel, l.grid)).collect()
    };
    let steps = |steps: &[(&str, [u32; 3])]| -> Vec<String> {
        steps.iter().map(|(step, grid)| format!("per_sample_norms_{step} {grid:?}")).collect()
    };
    let gram = [
        ("check", [1, 1, 1]),
        ("means_bf16", [32 + 16, 2, 1]),
        ("centre_bf16", [500, 1, 1]),
        ("products_bf16", [4, 8, 1]),
        ("terms", [2, 1, 1]),
        ("bf16", [64, 1, 1]),
        ("totals", [1, 1, 1]),
    ];
    assert_eq!(names(500, [1024, 512]), steps(&gram));
    let direct = [("check", [1, 1, 1]), ("bf16", [2, 1, 1]), ("totals", [1, 1, 1])];
    assert_eq!(names(500, [64, 32]), steps(&direct));
}

/// Gradients are kept while half of the second-level cache holds one, and as many together as it holds.
#[test]
fn gradients_are_kept_where_the_cache_holds_them() {
    let clip = |device: &Device, [d, p]: [usize; 2], path| {
        let (x, dy) = (device.empty(DType::F32, [5000, d])?, device.empty(DType::F32, [5000, p])?);
        let (offsets, grad) = (device.empty(DType::U32, [6])?, device.empty(DType::F32, [p, d])?);
        let options =
            ClipLinearOptions { bias: None, weights: None, max_norm: 1.0, rule: ClipRule::Flat, path };
        x.clip_linear_fused(&dy, &offsets, &grad, options).map(|out| out.path)
    };
    // 40 KiB, of which a gradient of 64 x 80 has half.
    let kept = launches(|device| {
        assert_eq!(clip(device, [80, 64], None)?, ClipPath::Fused);
        Ok(())
    });
    let grids: Vec<_> = kept.iter().filter(|l| l.kernel.contains("_keep_")).map(|l| l.grid[0]).collect();
    assert_eq!(grids, [2, 2, 1]);
    launches(|device| {
        // One element more than there is room for.
        assert_eq!(clip(device, [128, 81], None)?, ClipPath::TwoPhase);
        let refused = clip(device, [128, 81], Some(ClipPath::Fused)).unwrap_err();
        assert_eq!(refused.code(), Code::Unsupported);
        assert!(refused.message().contains("41472 bytes"), "{refused}");
        Ok(())
    });
}
