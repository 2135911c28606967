//! The queue, over a backend that keeps bytes, obeys a script of failures, and runs three operations.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use super::{Backend, Buffer, Buffers, Device, DeviceInfo, DeviceKind, Fault, HostBytes, Support};
use crate::ops::{Copy, Fill, NllOptions, Op};
use crate::{Code, DType, Error, Result, Tensor};

type Bytes = RefCell<Vec<u8>>;

/// What goes wrong next.
enum Trouble {
    Fails,
    Panics,
    IsLost,
}

#[derive(Default)]
struct Script {
    /// Trouble for the next operations, one each; `None` goes well.
    ops: VecDeque<Option<Trouble>>,
    /// Bytes that the backend has to give.
    capacity: usize,
    /// Rows at which every `nll` faults, found at the next `finish`.
    faults: VecDeque<Option<u64>>,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Script>>);

struct Scripted {
    shared: Shared,
    used: Arc<Mutex<usize>>,
    pending: Vec<Fault>,
}

struct Held {
    bytes: Bytes,
    size: usize,
    used: Arc<Mutex<usize>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.used.lock().unwrap() -= self.size;
    }
}

fn supports(_: &DeviceInfo, op: &Op) -> Support {
    match op {
        Op::Philox(_) => Support::Unsupported("this one draws no lots".into()),
        _ => Support::Native,
    }
}

impl Backend for Scripted {
    fn info(&self) -> Arc<DeviceInfo> {
        Arc::new(DeviceInfo {
            backend: "scripted",
            selector: "scripted:0".into(),
            name: "a script".into(),
            kind: DeviceKind::Other,
            driver: String::new(),
            memory: None,
            limits: Vec::new(),
            features: Vec::new(),
            supports,
        })
    }

    fn alloc(&mut self, bytes: usize) -> Result<Buffer> {
        let mut used = self.used.lock().unwrap();
        if *used + bytes > self.shared.0.lock().unwrap().capacity {
            return Err(Error::new(Code::OutOfMemory, format!("no {bytes} bytes left")));
        }
        *used += bytes;
        // Not zeros: nobody may rely on them.
        let held = Held { bytes: RefCell::new(vec![0xA5; bytes]), size: bytes, used: self.used.clone() };
        Ok(Buffer::new(held, bytes))
    }

    fn write(&mut self, dst: &Buffer, offset: usize, src: &[u8]) -> Result<()> {
        dst.get::<Held>()?.bytes.borrow_mut()[offset..offset + src.len()].copy_from_slice(src);
        Ok(())
    }

    fn read(&mut self, src: &Buffer, offset: usize, dst: &mut [u8]) -> Result<()> {
        dst.copy_from_slice(&src.get::<Held>()?.bytes.borrow()[offset..offset + dst.len()]);
        Ok(())
    }

    fn run(&mut self, serial: u64, op: &Op, buffers: &Buffers) -> Result<()> {
        let trouble = self.shared.0.lock().unwrap().ops.pop_front().flatten();
        match trouble {
            Some(Trouble::Fails) => return Err(Error::new(Code::Io, "it broke")),
            Some(Trouble::Panics) => panic!("as drivers do"),
            Some(Trouble::IsLost) => return Err(Error::new(Code::DeviceLost, "unplugged")),
            None => {}
        }
        let put = |t: &Tensor, bytes: &[u8]| -> Result<()> {
            let mut memory = buffers.of(t)?.get::<Held>()?.bytes.borrow_mut();
            memory[t.byte_offset()..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        };
        match op {
            Op::Fill(f) => put(&f.out, &(f.value as f32).to_ne_bytes().repeat(f.out.len())),
            Op::Copy(c) => {
                let from = buffers.of(&c.x)?.get::<Held>()?.bytes.borrow()[c.x.byte_offset()..]
                    [..c.x.bytes()]
                    .to_vec();
                put(&c.out, &from)
            }
            Op::Axpby(a) => put(&a.y, &a.alpha.to_ne_bytes().repeat(a.y.len())),
            Op::Nll(n) => {
                let fault = self.shared.0.lock().unwrap().faults.pop_front().flatten();
                self.pending.extend(fault.map(|row| Fault { serial, row }));
                put(&n.out, &vec![0; n.out.bytes()])
            }
            other => panic!("not in the script: {}", other.name()),
        }
    }

    fn finish(&mut self) -> Result<Vec<Fault>> {
        Ok(std::mem::take(&mut self.pending))
    }
}

fn open() -> (Device, Shared) {
    let shared = Shared::default();
    shared.0.lock().unwrap().capacity = 1 << 20;
    let theirs = shared.clone();
    let make = move || {
        let backend = Scripted { shared: theirs, used: Arc::default(), pending: Vec::new() };
        Ok(Box::new(backend) as Box<dyn Backend>)
    };
    (Device::open(make).unwrap(), shared)
}

impl Shared {
    fn trouble(&self, ops: impl IntoIterator<Item = Option<Trouble>>) {
        self.0.lock().unwrap().ops.extend(ops);
    }

    fn faults(&self, rows: impl IntoIterator<Item = Option<u64>>) {
        self.0.lock().unwrap().faults.extend(rows);
    }
}

fn targets(device: &Device) -> Tensor {
    device.tensor(vec![0u32, 1], [2]).unwrap()
}

#[test]
fn elements_come_back_and_views_share_them() {
    let (device, _) = open();
    let t = device.tensor(vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2]).unwrap();
    assert_eq!(t.narrow(1, 2).unwrap().to_vec::<f32>().unwrap(), [3.0, 4.0, 5.0, 6.0]);
    let flat = t.reshape([6]).unwrap().narrow(1, 3).unwrap();
    assert_eq!(flat.narrow(1, 1).unwrap().to_vec::<f32>().unwrap(), [3.0]);
    device.run(Fill { out: flat, value: 7.0 }).unwrap();
    assert_eq!(t.to_vec::<f32>().unwrap(), [1.0, 7.0, 7.0, 7.0, 5.0, 6.0]);
    t.write(Box::new(1f32.to_ne_bytes().repeat(6))).unwrap();
    assert_eq!(t.to_vec::<f32>().unwrap(), [1.0; 6]);
    assert_eq!(device.zeros(DType::F32, [0, 4]).unwrap().to_vec::<f32>().unwrap(), []);
}

#[test]
fn what_does_not_fit_is_refused_at_once_with_the_name_of_the_operation_and_the_operand() {
    let (device, _) = open();
    let (other, _) = open();
    let x = device.zeros(DType::F32, [2, 3]).unwrap();
    let e = |result: Result<Tensor>| {
        let e = result.unwrap_err();
        (e.code(), e.message().to_owned(), e.location().column.clone().unwrap_or_default())
    };
    let three = device.zeros(DType::U32, [3]).unwrap();
    assert_eq!(
        e(x.nll(&three, NllOptions::default())),
        (Code::ShapeMismatch, "nll: expected shape [2], given [3]".into(), "targets".into())
    );
    let floats = device.zeros(DType::F32, [2]).unwrap();
    assert_eq!(
        e(x.nll(&floats, NllOptions::default())),
        (Code::DtypeMismatch, "nll: expected u32 or i32, given f32".into(), "targets".into())
    );
    let (code, message, _) = e(x.nll(&other.zeros(DType::U32, [2]).unwrap(), NllOptions::default()));
    assert_eq!(code, Code::DeviceMismatch);
    assert!(message.starts_with("nll: "), "{message}");
    assert_eq!(e(x.narrow(1, 2)).0, Code::ShapeMismatch);
    assert_eq!(e(x.narrow(usize::MAX, 2)).0, Code::ShapeMismatch);
    assert_eq!(e(x.reshape([7])).0, Code::ShapeMismatch);
    assert_eq!(e(x.scale(f32::NAN)).0, Code::InvalidArgument);
    assert_eq!(e(device.tensor(vec![1f32], [2])).0, Code::ShapeMismatch);
    assert_eq!(e(device.empty(DType::F32, [usize::MAX, 2])).0, Code::ShapeMismatch);
    let e = device.philox([3], crate::ops::Draw::Bits, 0, 0, 0).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::Unsupported, "philox: this one draws no lots"));
}

#[test]
fn an_output_may_not_share_memory_with_another_operand() {
    let (device, _) = open();
    let t = device.zeros(DType::F32, [8]).unwrap();
    let (a, b) = (t.narrow(0, 4).unwrap(), t.narrow(3, 4).unwrap());
    for out in [&a, &b] {
        assert_eq!(
            device.run(Copy { x: a.clone(), out: out.clone() }).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    device.run(Copy { x: a, out: t.narrow(4, 4).unwrap() }).unwrap();
}

#[test]
fn writes_to_memory_are_counted_whichever_view_they_go_through() {
    let (device, _) = open();
    let x = device.tensor(vec![1f32, 2.0, 3.0, 4.0], [4]).unwrap();
    let view = x.narrow(1, 2).unwrap();
    let before = x.version();
    device.run(Copy { x: x.clone(), out: device.tensor(vec![0f32; 4], [4]).unwrap() }).unwrap();
    assert!(device.run(Copy { x: x.clone(), out: view.clone() }).is_err());
    assert_eq!(
        (x.version(), view.version()),
        (before, before),
        "reading and what is refused count as nothing"
    );
    device.run(Fill { out: view.clone(), value: 7.0 }).unwrap();
    assert_eq!(x.version(), before + 1);
    x.write(Box::new([0u8; 16])).unwrap();
    assert_eq!(view.version(), before + 2);
}

#[test]
fn a_failure_spoils_what_is_computed_from_it_and_nothing_else() {
    let (device, shared) = open();
    let a = device.zeros(DType::F32, [2]).unwrap();
    device.synchronize().unwrap();
    shared.trouble([Some(Trouble::Fails)]);
    let b = a.copy().unwrap();
    let c = b.copy().unwrap();
    let e = c.read().unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::Io, "copy: it broke"));
    assert_eq!(b.read().unwrap_err().message(), "copy: it broke");
    assert_eq!(a.to_vec::<f32>().unwrap(), [0.0; 2]);
    // An update in place keeps the damage; writing all of it anew heals.
    c.axpy(1.0, &a).unwrap();
    assert!(c.read().is_err());
    device.run(Fill { out: c.narrow(0, 1).unwrap(), value: 1.0 }).unwrap();
    assert!(c.read().is_err(), "a part is not the whole");
    device.run(Fill { out: c.clone(), value: 1.0 }).unwrap();
    assert_eq!(c.to_vec::<f32>().unwrap(), [1.0; 2]);
    b.write(Box::new(vec![0; 8])).unwrap();
    assert_eq!(b.to_vec::<f32>().unwrap(), [0.0; 2]);
}

#[test]
fn a_panic_is_an_internal_error_and_the_device_works_on() {
    let (device, shared) = open();
    shared.trouble([Some(Trouble::Panics)]);
    let a = device.zeros(DType::F32, [2]).unwrap();
    let e = a.read().unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::Internal, "fill: panicked: as drivers do"));
    assert_eq!(device.zeros(DType::F32, [1]).unwrap().to_vec::<f32>().unwrap(), [0.0]);
}

#[test]
fn a_fault_that_shows_late_spoils_what_was_computed_since() {
    let (device, shared) = open();
    let logits = device.zeros(DType::F32, [2, 3]).unwrap();
    shared.faults([Some(1), None]);
    let bad = logits.nll(&targets(&device), NllOptions::default()).unwrap();
    let good = logits.nll(&targets(&device), NllOptions::default()).unwrap();
    let from_bad = bad.copy().unwrap();
    let from_good = good.copy().unwrap();
    let rewritten = bad.copy().unwrap();
    device.run(Fill { out: rewritten.clone(), value: 2.0 }).unwrap();
    let overwritten = bad.copy().unwrap();
    overwritten.write(Box::new(vec![0; 8])).unwrap();
    let e = from_bad.read().unwrap_err();
    assert_eq!(
        (e.code(), e.message(), e.location().row, e.location().column.as_deref()),
        (Code::InvalidValue, "nll: the target lies outside the vocabulary of 3", Some(1), Some("targets"))
    );
    assert!(bad.read().is_err());
    assert_eq!(good.to_vec::<f32>().unwrap(), [0.0; 2]);
    assert_eq!(from_good.to_vec::<f32>().unwrap(), [0.0; 2]);
    assert_eq!(rewritten.to_vec::<f32>().unwrap(), [2.0; 2]);
    assert_eq!(overwritten.to_vec::<f32>().unwrap(), [0.0; 2]);
}

#[test]
fn memory_comes_back_and_is_counted() {
    let (device, _) = open();
    let before = device.memory();
    let a = device.zeros(DType::F32, [1000]).unwrap();
    let view = a.narrow(0, 10).unwrap();
    drop(a);
    assert_eq!((device.memory().live_tensors, device.memory().live_bytes), (1, 4000));
    drop(view);
    device.synchronize().unwrap();
    let after = device.memory();
    assert_eq!((after.live_bytes, after.live_tensors), (before.live_bytes, before.live_tensors));
    assert_eq!((after.peak_bytes, after.allocations), (4000, 1));
    assert!(after.pooled_bytes >= 4000);
    drop(device.zeros(DType::F32, [990]).unwrap());
    device.synchronize().unwrap();
    assert_eq!(device.memory().allocations, 1, "the pool has it");
}

#[test]
fn a_lack_of_memory_is_told_at_the_read_and_passes() {
    let (device, shared) = open();
    shared.0.lock().unwrap().capacity = 10_000;
    let a = device.zeros(DType::F32, [1500]).unwrap();
    let b = device.zeros(DType::F32, [1600]).unwrap();
    assert_eq!(b.read().unwrap_err().code(), Code::OutOfMemory);
    assert_eq!(b.copy().unwrap().read().unwrap_err().code(), Code::OutOfMemory);
    b.write(Box::new(vec![0; 6400])).unwrap();
    assert_eq!(b.read().unwrap_err().code(), Code::OutOfMemory, "nowhere to write to");
    assert_eq!(a.to_vec::<f32>().unwrap(), [0.0; 1500]);
    // Freed after it is asked for, while the queue is busy: what waits behind is released first.
    let (gate, open_gate) = channel::<()>();
    a.read_with(move |_| open_gate.recv().unwrap());
    let c = device.zeros(DType::F32, [2000]).unwrap();
    drop((a, b));
    gate.send(()).unwrap();
    assert_eq!(c.to_vec::<f32>().unwrap(), [0.0; 2000]);
}

#[test]
fn a_lost_device_says_so_to_everyone_and_another_can_be_opened() {
    let (device, shared) = open();
    let a = device.zeros(DType::F32, [2]).unwrap();
    device.synchronize().unwrap();
    shared.trouble([Some(Trouble::IsLost)]);
    assert_eq!(a.copy().unwrap().read().unwrap_err().code(), Code::DeviceLost);
    assert_eq!(a.read().unwrap_err().code(), Code::DeviceLost);
    assert_eq!(device.zeros(DType::F32, [2]).unwrap().read().unwrap_err().code(), Code::DeviceLost);
    assert_eq!(device.synchronize().unwrap_err().code(), Code::DeviceLost);
    assert!(open().0.zeros(DType::F32, [2]).unwrap().read().is_ok());
}

#[test]
fn a_closed_device_finishes_its_work_and_answers_everyone() {
    let (device, _) = open();
    let a = device.zeros(DType::F32, [2]).unwrap();
    let (done, answer) = channel();
    a.read_with(move |r| done.send(r.map(|b| b.len())).unwrap());
    device.close();
    device.close();
    assert_eq!(answer.recv().unwrap().unwrap(), 8);
    assert_eq!(a.read().unwrap_err().code(), Code::Disposed);
    assert_eq!(a.copy().unwrap_err().code(), Code::Disposed);
    assert_eq!(device.zeros(DType::F32, [1]).unwrap_err().code(), Code::Disposed);
    drop(a);
    assert_eq!(device.memory().live_bytes, 0);
}

#[test]
fn an_abandoned_device_leaves_out_what_it_has_not_begun() {
    let (device, _) = open();
    let (first, second) = (device.zeros(DType::F32, [4]).unwrap(), device.empty(DType::F32, [4]).unwrap());
    let (release, held) = channel::<()>();
    let (done, answers) = channel();
    let also = done.clone();
    // Holds the thread up until the device is abandoned, which must not happen before it is here.
    let (begin, begun) = channel();
    first.read_with(move |result| {
        let _ = begin.send(());
        let _ = held.recv();
        drop(done.send(result));
    });
    device.run(Fill { out: second.clone(), value: 1.0 }).unwrap();
    second.read_with(move |result| drop(also.send(result)));
    let closing = device.clone();
    let watch = std::thread::spawn(move || {
        while !closing.is_closed() {
            std::thread::yield_now();
        }
        drop(release);
    });
    begun.recv().unwrap();
    device.abandon();
    watch.join().unwrap();
    assert_eq!(answers.recv().unwrap().unwrap(), vec![0; 16]);
    assert_eq!(answers.recv().unwrap().unwrap_err().code(), Code::Disposed);
}

#[test]
fn the_thread_ends_when_nobody_is_left() {
    struct Tells(Option<std::sync::mpsc::Sender<()>>);
    impl AsRef<[u8]> for Tells {
        fn as_ref(&self) -> &[u8] {
            &[]
        }
    }
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.take().unwrap().send(());
        }
    }
    let (device, _) = open();
    let (gone, answer) = channel();
    let bytes: HostBytes = Box::new(Tells(Some(gone)));
    let empty = device.tensor_from(bytes, DType::F32, [0]).unwrap();
    drop((device, empty));
    answer.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
}

#[test]
fn a_device_that_cannot_be_made_is_an_error_even_when_the_driver_panics() {
    let e = Device::open(|| Err(Error::new(Code::DeviceUnavailable, "none here"))).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::DeviceUnavailable, "none here"));
    let e = Device::open(|| panic!("no such symbol")).unwrap_err();
    assert_eq!((e.code(), e.message()), (Code::DeviceUnavailable, "panicked: no such symbol"));
}

/// A chain of operations that is enqueued faster than it runs takes the memory of two links, also when an operation
/// that may fault is on its way: memory goes back when its last use is over, not behind what is enqueued.
#[test]
fn memory_that_is_done_with_serves_what_is_enqueued_behind_it() {
    let (device, _) = open();
    let logits = device.zeros(DType::F32, [2, 3]).unwrap();
    let loss = logits.nll(&targets(&device), NllOptions::default()).unwrap();
    let mut link = device.zeros(DType::F32, [1000]).unwrap();
    device.synchronize().unwrap();
    let before = device.memory().allocations;
    let (gate, open_gate) = channel::<()>();
    loss.read_with(move |_| _ = open_gate.recv());
    let again = logits.nll(&targets(&device), NllOptions::default()).unwrap();
    for _ in 0..200 {
        link = link.copy().unwrap();
    }
    gate.send(()).unwrap();
    assert_eq!(link.to_vec::<f32>().unwrap(), [0.0; 1000]);
    // The loss and its targets, and one more link.
    assert!(device.memory().allocations - before <= 3, "{}", device.memory().allocations - before);
    drop(again);
}
