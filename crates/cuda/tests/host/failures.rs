//! What must be noticed: kernels that are wrong, memory that is out, a device that is gone.

use gristmill_core::ops::Reduction;
use gristmill_core::{Code, DType};

use crate::conformance::again;
use crate::driver::{Options, open};
use crate::shim::{Build, Kernels, compile, compiler, load};

fn launch(kernels: &Kernels, kernel: &str, out: &mut [u32; 256], order: u64) -> Result<(), String> {
    let args: [u64; 2] = [out.as_mut_ptr() as u64, 256];
    kernels.launch(kernel, [1, 1, 1], 256, 1024, bytemuck::cast_slice(&args), order)
}

#[test]
fn a_missing_barrier_shows_in_some_order() {
    let Some(kernels) = load(Build::Faulty) else { return };
    let right: Vec<u32> = (0..256).rev().collect();
    let results = |kernel: &str| {
        [0, 1, 2, 3].map(|order| {
            let mut out = [0; 256];
            launch(&kernels, kernel, &mut out, order).unwrap();
            out.to_vec() == right
        })
    };
    assert_eq!(results("reverse_right"), [true; 4]);
    assert_eq!(results("reverse_race"), [false; 4]);
}

#[test]
fn threads_that_do_not_meet_end_the_launch() {
    let Some(kernels) = load(Build::Faulty) else { return };
    for (kernel, why) in [
        ("half_a_warp", "nobody can go on: thread 0 waits in a shuffle"),
        ("different", "lanes of a warp meet in different operations"),
        ("misaligned", "a misaligned store"),
    ] {
        for order in [0, 1, 5] {
            let message = launch(&kernels, kernel, &mut [0; 256], order).unwrap_err();
            assert!(message.contains(why), "{kernel}: {message}");
        }
    }
    // And the next launch works.
    launch(&kernels, "reverse_right", &mut [0; 256], 0).unwrap();
}

#[test]
fn a_copy_that_is_not_waited_for_has_not_arrived() {
    let Some(kernels) = load(Build::Faulty) else { return };
    for (kernel, seen) in [("copy_right", 7), ("copy_early", u32::MAX)] {
        let mut out = [0; 256];
        out[0] = 7;
        // Aligned as the copy wants it.
        let mut aligned = vec![[0u64; 2]; 64];
        let words: &mut [u32] = bytemuck::cast_slice_mut(&mut aligned);
        let from = words.as_ptr().align_offset(16);
        words[from..][..8].copy_from_slice(&out[..8]);
        let args: [u64; 2] = [words[from..].as_mut_ptr() as u64, 256];
        kernels.launch(kernel, [1, 1, 1], 256, 1024, bytemuck::cast_slice(&args), 0).unwrap();
        assert_eq!(words[from + 4], seen, "{kernel}");
    }
}

/// Set in the process that is to end at the first access out of bounds.
const BEYOND: &str = "GRISTMILL_CUDA_HOST_BEYOND";

#[test]
fn the_sanitizer_knows_the_end_of_shared_memory() {
    let launch = |n: u64| {
        let mut out = [0u32; 256];
        let args = [out.as_mut_ptr() as u64, n];
        let kernels = load(Build::FaultySanitized).unwrap();
        kernels.launch("beyond", [1, 1, 1], 256, 1024, bytemuck::cast_slice(&args), 0).unwrap();
    };
    if std::env::var_os(BEYOND).is_some() {
        launch(255);
        eprintln!("the last word was read");
        return launch(256);
    }
    if compiler().is_err() {
        return drop(load(Build::Faulty)); // Says why, or fails where it is required.
    }
    compile(Build::FaultySanitized);
    let output = again("failures::the_sanitizer_knows_the_end_of_shared_memory", BEYOND);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("the last word was read"), "{text}");
    assert!(text.contains("heap-buffer-overflow"), "{text}");
}

#[test]
fn arguments_of_another_size_are_refused() {
    let Some(kernels) = load(Build::Plain) else { return };
    let message = kernels.launch("fill_bytes", [1, 1, 1], 256, 0, &[0; 16], 0).unwrap_err();
    assert_eq!(message, "fill_bytes takes 24 bytes of arguments, given 16");
}

#[test]
fn out_of_memory_is_typed_and_the_device_works_afterwards() {
    let Some(device) = open(Options { memory: 1 << 20, ..Options::default() }) else { return };
    let kept = device.tensor(vec![1.5f32; 1000], [1000]).unwrap();
    let large = device.empty(DType::F32, [1 << 20]).unwrap();
    assert_eq!(large.copy().unwrap().read().unwrap_err().code(), Code::OutOfMemory);
    // Intermediate results that do not fit either: one row in parts.
    let sum = kept.row_reduce(Reduction::Sum).unwrap();
    assert_eq!(sum.to_vec::<f32>().unwrap(), [1500.0]);
    drop(large);
    // What was free becomes something else.
    for _ in 0..3 {
        let most = device.zeros(DType::U8, [900 << 10]).unwrap();
        assert!(most.to_vec::<u8>().unwrap().iter().all(|&x| x == 0));
    }
    assert_eq!(kept.to_vec::<f32>().unwrap(), [1.5; 1000]);
}

#[test]
fn scratch_memory_gives_way_to_tensors() {
    let Some(device) = open(Options { memory: 3 << 19, ..Options::default() }) else { return };
    // The list of a long top-k: 512 KiB of scratch.
    let x = device.tensor((0..50_000).map(|i| i as f32).collect(), [50_000]).unwrap();
    let top = x.topk(40_000, 50_000).unwrap();
    assert_eq!(top.values.to_vec::<f32>().unwrap()[..2], [49_999.0, 49_998.0]);
    drop((x, top));
    let most = device.zeros(DType::U8, [1100 << 10]).unwrap();
    assert!(most.to_vec::<u8>().unwrap().iter().all(|&x| x == 0));
}

#[test]
fn a_lost_device_says_so_and_another_opens() {
    let Some(device) = open(Options { launches: 1, ..Options::default() }) else { return };
    let x = device.zeros(DType::F32, [10]).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [0.0; 10]);
    let y = x.scale(2.0).unwrap();
    assert_eq!(y.read().unwrap_err().code(), Code::DeviceLost);
    assert_eq!(device.synchronize().unwrap_err().code(), Code::DeviceLost);
    let other = open(Options::default()).unwrap();
    assert_eq!(other.zeros(DType::F32, [10]).unwrap().to_vec::<f32>().unwrap(), [0.0; 10]);
}

#[test]
fn more_operations_that_may_fault_than_there_are_slots() {
    let Some(device) = open(Options::default()) else { return };
    let logits = device.tensor(vec![0.0f32; 6], [2, 3]).unwrap();
    let (good, bad) =
        (device.tensor(vec![0u32, 2], [2]).unwrap(), device.tensor(vec![0u32, 3], [2]).unwrap());
    let losses: Vec<_> = (0..1200)
        .map(|i| logits.nll(if i % 400 == 7 { &bad } else { &good }, Default::default()).unwrap())
        .collect();
    for (i, loss) in losses.iter().enumerate() {
        match loss.to_vec::<f32>() {
            Ok(values) => assert!(i % 400 != 7 && values.iter().all(|v| (v - 3f32.ln()).abs() < 1e-6)),
            Err(e) => assert_eq!((i % 400, e.location().row), (7, Some(1)), "{e}"),
        }
    }
}
