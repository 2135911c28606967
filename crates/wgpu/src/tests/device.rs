//! Opening, losing, running out.

use std::sync::mpsc::channel;

use gristmill_core::device::DeviceKind;
use gristmill_core::ops::{Axpby, Cast, Copy, Scale};
use gristmill_core::{Code, DType, Device};

use super::{Opened, adapter};
use crate::backend::{self, Setup, Witness};
use crate::{Options, open, probe};

/// The sum of a vector, as a check that the device computes.
fn computes(device: &Device) {
    let x = device.tensor(vec![1f32, 2.0, 4.0], [1, 3]).unwrap();
    let sum = x.row_reduce(gristmill_core::ops::Reduction::Sum).unwrap();
    assert_eq!(sum.to_vec::<f32>().unwrap(), [7.0]);
}

#[test]
fn adapters_are_described() {
    let Some(index) = adapter() else { return };
    let adapter = &probe()[index];
    assert_eq!(adapter.info.selector, format!("wgpu:{index}"));
    assert!(!adapter.info.name.is_empty() && !adapter.info.driver.is_empty());
    assert!(
        adapter.info.limits.iter().any(|(name, bytes)| *name == "maxBindingBytes" && *bytes >= 128 << 20)
    );
    if adapter.info.name.starts_with("llvmpipe") {
        assert_eq!(adapter.info.kind, DeviceKind::Software);
    }
    let device = Opened(open(index, Options::default()).unwrap());
    assert_eq!(device.info().name, adapter.info.name);
    computes(&device);
}

#[test]
fn an_adapter_that_is_not_there_is_an_error() {
    let e = open(1000, Options::default()).unwrap_err();
    assert_eq!(e.code(), Code::DeviceUnavailable);
    assert!(e.to_string().contains("wgpu:1000"), "{e}");
}

#[test]
fn options_decide_about_subgroups() {
    let Some(index) = adapter() else { return };
    let features = |subgroups| Opened(open(index, Options { subgroups }).unwrap()).info().features.clone();
    assert!(features(Some(false)).is_empty());
    assert_eq!(features(Some(true)), ["subgroups"]);
}

#[test]
fn a_lost_device_says_so_and_another_opens() {
    let Some(index) = adapter() else { return };
    let (send, receive) = channel();
    let witness: Witness = Box::new(move |device| drop(send.send(device.clone())));
    let setup = Setup { witness: Some(witness), validation: true, ..Default::default() };
    let device = Opened(backend::open(index, setup).unwrap());
    let before = device.zeros(DType::F32, [100]).unwrap();
    before.read().unwrap();
    receive.recv().unwrap().destroy();
    for _ in 0..2 {
        assert_eq!(before.read().unwrap_err().code(), Code::DeviceLost);
        let after = device.zeros(DType::F32, [100]).unwrap();
        assert_eq!(after.read().unwrap_err().code(), Code::DeviceLost);
        assert_eq!(device.synchronize().unwrap_err().code(), Code::DeviceLost);
    }
    computes(&Opened(open(index, Options::default()).unwrap()));
}

#[test]
fn too_much_memory_is_an_error_and_the_device_goes_on() {
    let Some(index) = adapter() else { return };
    let device = Opened(open(index, Options::default()).unwrap());
    let limits = &device.info().limits;
    let most = limits.iter().find(|(name, _)| *name == "maxBufferBytes").unwrap().1;
    // Beyond what one buffer may have; and, at 2^55 bytes, beyond any machine.
    for bytes in [most as usize + 1, 1 << 55] {
        let huge = device.empty(DType::U8, [bytes]).unwrap();
        let e = huge.narrow(0, 1).unwrap().read().unwrap_err();
        assert_eq!(e.code(), Code::OutOfMemory, "{e}");
    }
    computes(&device);
}

#[test]
fn double_precision_is_refused_at_once() {
    let Some(index) = adapter() else { return };
    let device = Opened(open(index, Options::default()).unwrap());
    let x = device.tensor(vec![1f64], [1]).unwrap();
    let e = x.cast(DType::F32).unwrap_err();
    assert_eq!(e.code(), Code::Unsupported);
    assert!(e.to_string().contains("f64"), "{e}");
    assert_eq!(x.to_vec::<f64>().unwrap(), [1.0]);
}

#[test]
fn bytes_go_up_and_down_at_any_offset() {
    let Some(index) = adapter() else { return };
    let device = Opened(open(index, Options::default()).unwrap());
    let mut want: Vec<u8> = (0..1000).map(|i| (i * 7 % 251) as u8).collect();
    let all = device.tensor(want.clone(), [1000]).unwrap();
    for (first, len) in [(1, 1), (3, 6), (5, 300), (8, 4), (13, 0), (997, 3), (0, 999)] {
        let part = all.narrow(first, len).unwrap();
        let new: Vec<u8> = (0..len).map(|i| (i * 3 + first) as u8).collect();
        part.write(Box::new(new.clone())).unwrap();
        want[first..first + len].copy_from_slice(&new);
        assert_eq!(part.read().unwrap(), new);
        assert_eq!(all.read().unwrap(), want, "{first} {len}");
    }
}

/// More operations that may fault than there are slots for: each fault still meets its own.
#[test]
fn faults_find_their_operations() {
    let Some(index) = adapter() else { return };
    let device = Opened(open(index, Options::default()).unwrap());
    let logits = device.tensor(vec![0f32; 8], [4, 2]).unwrap();
    let results: Vec<_> = (0..1500u32)
        .map(|i| {
            let bad = i % 300 == 7;
            let targets =
                device.tensor(vec![0, if bad { 2 } else { 1 }, 0, u32::from(bad) * 9], [4]).unwrap();
            (bad, logits.nll(&targets, Default::default()).unwrap())
        })
        .collect();
    for (bad, losses) in results {
        match losses.to_vec::<f32>() {
            Ok(losses) => assert!(!bad && losses.iter().all(|l| (l - 2f32.ln()).abs() < 1e-6)),
            Err(e) => assert!(bad && e.location().row == Some(1), "{e}"),
        }
    }
}

/// Inputs and outputs that are parts of one buffer, down to one word.
#[test]
fn operands_may_share_a_buffer() {
    let Some(device) = super::open(true, None) else { return };
    let all: Vec<half::f16> = (0..64).map(|i| half::f16::from_f32(i as f32)).collect();
    let whole = device.tensor(all.clone(), [64]).unwrap();
    let part = |first| whole.narrow(first, 7).unwrap();
    device.run(Scale { x: part(0), out: part(7), alpha: 2.0 }).unwrap();
    device.run(Copy { x: part(7), out: part(21) }).unwrap();
    device.run(Axpby { x: part(21), y: part(14), alpha: 1.0, beta: -1.0 }).unwrap();
    let mut want: Vec<f32> = all.iter().map(|x| x.to_f32()).collect();
    for i in 0..7 {
        want[7 + i] = 2.0 * want[i];
        want[21 + i] = want[7 + i];
        want[14 + i] = want[21 + i] - want[14 + i];
    }
    let got: Vec<f32> = whole.to_vec::<half::f16>().unwrap().iter().map(|x| x.to_f32()).collect();
    assert_eq!(got, want);

    let words = device.tensor((0..9u32).collect::<Vec<_>>(), [9]).unwrap();
    let (low, high) = (words.narrow(0, 4).unwrap(), words.narrow(5, 4).unwrap());
    device.run(Cast { x: low, out: high }).unwrap();
    assert_eq!(words.to_vec::<u32>().unwrap(), [0, 1, 2, 3, 4, 0, 1, 2, 3]);
    let matrix = device.tensor(vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [4, 2]).unwrap();
    let (a, b) = (matrix.narrow(0, 2).unwrap(), matrix.narrow(2, 2).unwrap());
    let product = a.matmul(&b, Default::default()).unwrap();
    assert_eq!(product.to_vec::<f32>().unwrap(), [19.0, 22.0, 43.0, 50.0]);
}

/// Memory that was given up is free again, without anybody's waiting for it: wgpu frees only where it is polled.
#[test]
fn memory_is_freed_on_the_way() {
    let Some(index) = adapter() else { return };
    let (send, receive) = channel();
    let witness: Witness = Box::new(move |device| drop(send.send(device.clone())));
    let device =
        Opened(backend::open(index, Setup { witness: Some(witness), ..Default::default() }).unwrap());
    let inner = receive.recv().unwrap();
    // Of sizes that the core's pool cannot use for one another, and of which it keeps 1 GiB.
    for i in 0..40 {
        let x = device.empty(DType::U8, [(64 + 8 * i) << 20]).unwrap();
        x.narrow(0, 1).unwrap().copy().unwrap();
    }
    device.synchronize().unwrap();
    if let Some(report) = inner.generate_allocator_report() {
        assert!(report.total_allocated_bytes < 3 << 30, "{} bytes", report.total_allocated_bytes);
    }
}
