use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::pool::{Pool, size_class};
use super::{Backend, BufferId, Buffers, Counters, HostBytes, disposed};
use crate::ops::{Contract, Op};
use crate::{Code, Error, Result, Tensor, panic_text};

/// What a device's thread is asked to do.
pub(crate) enum Command {
    Alloc(BufferId, usize),
    Adopt(BufferId, HostBytes),
    Write(Tensor, HostBytes),
    Run(Box<Op>),
    Read(Tensor, Reply<Vec<u8>>),
    Synchronize(Reply<()>),
    Free(BufferId),
    Close,
}

/// Somebody who waits. Whatever happens, an answer comes, even when the question is dropped unread.
pub(crate) struct Reply<T>(Option<Box<dyn FnOnce(Result<T>) + Send>>);

impl<T> Reply<T> {
    pub(crate) fn new(answer: impl FnOnce(Result<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    fn send(mut self, result: Result<T>) {
        if let Some(answer) = self.0.take() {
            answer(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.0.take() {
            answer(Err(disposed()));
        }
    }
}

/// Runs what may panic, as drivers and their wrappers do; a panic becomes an error with `code`.
pub(crate) fn guarded<T>(code: Code, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // Whoever gets the error poisons what the work could have left half done.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        Err(Error::new(code, format!("panicked: {}", panic_text(payload.as_ref()))))
    })
}

/// An operation under way whose data may turn out to be at fault, or that reads the result of such a one: what must be
/// known of it then. Its tensors live no longer for that.
struct Unproven {
    serial: u64,
    name: &'static str,
    contract: Contract,
    reads: Vec<BufferId>,
    /// What it writes, and whether that is all of the memory.
    writes: Vec<(BufferId, bool)>,
}

impl Unproven {
    fn of(serial: u64, op: &Op) -> Self {
        Self {
            serial,
            name: op.name(),
            contract: op.contract(),
            reads: op.reads().iter().map(|t| t.buffer()).collect(),
            writes: op.writes().iter().map(|t| (t.buffer(), t.is_whole())).collect(),
        }
    }
}

/// How many operations may wait for proof before the queue asks the device.
const UNPROVEN: usize = 4096;

thread_local! {
    /// Of which device this thread is: the address of its counters, or 0.
    static DEVICE: Cell<usize> = const { Cell::new(0) };
    /// Memory of that device whose last handle went away on this thread.
    static FREED: RefCell<Vec<BufferId>> = const { RefCell::new(Vec::new()) };
}

/// Notes memory as free if this is the thread of its device. Its last handle was in a command that was carried out, so
/// no other can refer to it, and it need not wait behind those that are enqueued.
pub(super) fn freed_here(counters: &Arc<Counters>, id: BufferId) -> bool {
    let device = Arc::as_ptr(counters) as usize;
    let here = DEVICE.try_with(Cell::get) == Ok(device);
    here && FREED.try_with(|freed| freed.borrow_mut().push(id)).is_ok()
}

/// The state of a device's thread.
pub(super) struct Queue {
    backend: Box<dyn Backend>,
    buffers: Buffers,
    pool: Pool,
    poison: HashMap<BufferId, Error>,
    unproven: Vec<Unproven>,
    serial: u64,
    /// Why the device ended, once it did.
    lost: Option<Error>,
    counters: Arc<Counters>,
    /// Whether nobody wants the results any more.
    abandoned: Arc<AtomicBool>,
    commands: Receiver<Command>,
    /// Commands that were taken from the channel and not yet carried out.
    ahead: VecDeque<Command>,
}

impl Queue {
    pub(super) fn new(
        backend: Box<dyn Backend>,
        commands: Receiver<Command>,
        counters: Arc<Counters>,
        abandoned: Arc<AtomicBool>,
    ) -> Self {
        Self {
            backend,
            buffers: Buffers::default(),
            pool: Pool::default(),
            poison: HashMap::new(),
            unproven: Vec::new(),
            serial: 0,
            lost: None,
            counters,
            abandoned,
            commands,
            ahead: VecDeque::new(),
        }
    }

    /// Works until it is closed or nobody is left to ask.
    pub(super) fn work(mut self) {
        DEVICE.set(Arc::as_ptr(&self.counters) as usize);
        while let Some(command) = self.ahead.pop_front().or_else(|| self.commands.recv().ok()) {
            match command {
                Command::Alloc(id, bytes) => self.alloc(id, bytes),
                Command::Adopt(id, bytes) => self.adopt(id, bytes),
                Command::Write(tensor, bytes) => self.write(&tensor, bytes),
                Command::Run(op) => self.run(&op),
                Command::Read(tensor, reply) => {
                    let result = self.read(&tensor);
                    // First, so that a caller who then looks at the counters finds its own handles gone.
                    drop(tensor);
                    reply.send(result);
                }
                Command::Synchronize(reply) => {
                    let result = self.prove();
                    self.free_ahead();
                    self.count();
                    reply.send(result);
                }
                Command::Free(id) => self.free(id),
                Command::Close => break,
            }
            for id in FREED.take() {
                self.free(id);
            }
            self.count();
        }
        // Work that was enqueued before the close was promised to happen, for whoever shares the memory.
        let _ = self.prove();
        self.pool.clear();
        self.count();
    }

    fn count(&self) {
        self.counters.pooled_bytes.store(self.pool.bytes() as u64, Ordering::SeqCst);
    }

    /// Calls the backend, unless the device is lost; notices when it gets lost.
    fn call<T>(&mut self, work: impl FnOnce(&mut dyn Backend, &Buffers) -> Result<T>) -> Result<T> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        let (backend, buffers) = (&mut *self.backend, &self.buffers);
        let result = guarded(Code::Internal, || work(backend, buffers));
        if let Err(e) = &result
            && e.code() == Code::DeviceLost
        {
            self.lost = Some(e.clone());
        }
        result
    }

    fn alloc(&mut self, id: BufferId, bytes: usize) {
        match self.memory(bytes) {
            Ok(buffer) => drop(self.buffers.0.insert(id, buffer)),
            Err(e) => drop(self.poison.insert(id, e)),
        }
    }

    fn memory(&mut self, bytes: usize) -> Result<super::Buffer> {
        let class = size_class(bytes);
        if let Some(buffer) = self.pool.take(class) {
            return Ok(buffer);
        }
        self.counters.allocations.fetch_add(1, Ordering::SeqCst);
        match self.call(|backend, _| backend.alloc(class)) {
            Err(e) if e.code() == Code::OutOfMemory => {
                // What is free, or about to be, may be enough; nothing is freed while work is under way.
                self.prove()?;
                self.free_ahead();
                self.pool.clear();
                self.call(|backend, _| backend.alloc(class))
            }
            result => result,
        }
    }

    fn adopt(&mut self, id: BufferId, bytes: HostBytes) {
        let length = (*bytes).as_ref().len();
        match self.call(|backend, _| Ok(backend.adopt(bytes))) {
            Ok(Ok(buffer)) => drop(self.buffers.0.insert(id, buffer)),
            Ok(Err(bytes)) => {
                let copied = self.memory(length).and_then(|buffer| {
                    self.call(|backend, _| backend.write(&buffer, 0, (*bytes).as_ref()))?;
                    Ok(buffer)
                });
                match copied {
                    Ok(buffer) => drop(self.buffers.0.insert(id, buffer)),
                    Err(e) => drop(self.poison.insert(id, e)),
                }
            }
            Err(e) => drop(self.poison.insert(id, e)),
        }
    }

    fn write(&mut self, tensor: &Tensor, bytes: HostBytes) {
        if !self.buffers.0.contains_key(&tensor.buffer()) {
            return; // It never got memory; why is known.
        }
        if !self.unproven.is_empty() {
            // A fault that comes to light later must not spoil what is written now.
            let _ = self.prove();
        }
        let written = self.call(|backend, buffers| {
            backend.write(buffers.of(tensor)?, tensor.byte_offset(), (*bytes).as_ref())
        });
        match written {
            Ok(()) => self.wrote(tensor),
            Err(e) => drop(self.poison.insert(tensor.buffer(), e)),
        }
    }

    fn run(&mut self, op: &Op) {
        self.serial += 1;
        let serial = self.serial;
        if let Err(e) = self.try_run(serial, op) {
            for out in op.writes() {
                self.poison.insert(out.buffer(), e.clone());
            }
            return;
        }
        for out in op.writes() {
            // An operation that updates in place does not heal.
            if !op.reads().iter().any(|t| t.buffer() == out.buffer()) {
                self.wrote(out);
            }
        }
        if op.may_fault() || !self.unproven.is_empty() {
            self.unproven.push(Unproven::of(serial, op));
            if self.unproven.len() >= UNPROVEN {
                // A loss is remembered and told to everyone who asks.
                let _ = self.prove();
            }
        }
    }

    fn try_run(&mut self, serial: u64, op: &Op) -> Result<()> {
        if self.abandoned.load(Ordering::SeqCst) {
            return Err(disposed());
        }
        for tensor in op.reads() {
            if let Some(e) = self.poison.get(&tensor.buffer()) {
                return Err(e.clone());
            }
        }
        for tensor in op.writes() {
            if !self.buffers.0.contains_key(&tensor.buffer())
                && let Some(e) = self.poison.get(&tensor.buffer())
            {
                return Err(e.clone());
            }
        }
        self.call(|backend, buffers| backend.run(serial, op, buffers)).map_err(|e| e.in_op(op.name()))
    }

    /// A tensor has been written in full: if that is all of its memory, whatever spoiled it before is gone.
    fn wrote(&mut self, tensor: &Tensor) {
        if tensor.is_whole() && self.buffers.0.contains_key(&tensor.buffer()) {
            self.poison.remove(&tensor.buffer());
        }
    }

    fn read(&mut self, tensor: &Tensor) -> Result<Vec<u8>> {
        if !self.unproven.is_empty() {
            self.prove()?;
        }
        if let Some(e) = self.poison.get(&tensor.buffer()) {
            return Err(e.clone());
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(tensor.bytes()).map_err(|e| {
            Error::new(Code::OutOfMemory, format!("cannot read {} bytes: {e}", tensor.bytes()))
        })?;
        bytes.resize(tensor.bytes(), 0);
        if !bytes.is_empty() {
            self.call(|backend, buffers| {
                backend.read(buffers.of(tensor)?, tensor.byte_offset(), &mut bytes)
            })?;
        }
        Ok(bytes)
    }

    /// Waits for the device, and poisons what faults spoiled, directly or by way of what was computed since.
    fn prove(&mut self) -> Result<()> {
        let faults = self.call(|backend, _| backend.finish())?;
        let unproven = std::mem::take(&mut self.unproven);
        // Only what was spoiled since: a result that was poisoned before may have been written anew in between.
        let mut spoiled: HashMap<BufferId, Error> = HashMap::new();
        for op in &unproven {
            let own = faults.iter().filter(|f| f.serial == op.serial).min_by_key(|f| f.row);
            let error = match own {
                Some(fault) => Some(op.contract.error(fault.row).in_op(op.name)),
                None => op.reads.iter().find_map(|id| spoiled.get(id).cloned()),
            };
            for (out, whole) in &op.writes {
                match &error {
                    Some(e) => drop(spoiled.insert(*out, e.clone())),
                    None if *whole => drop(spoiled.remove(out)),
                    None => {}
                }
            }
        }
        // What is gone already has no reader; what came from it is in the list itself.
        spoiled.retain(|id, _| self.buffers.0.contains_key(id));
        self.poison.extend(spoiled);
        Ok(())
    }

    /// Carries out the releases that wait behind other commands. No command or handle can refer to such a buffer any
    /// more, so their order does not matter.
    fn free_ahead(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Free(id) => self.free(id),
                other => self.ahead.push_back(other),
            }
        }
    }

    fn free(&mut self, id: BufferId) {
        self.poison.remove(&id);
        if let Some(buffer) = self.buffers.0.remove(&id) {
            self.pool.put(buffer);
        }
    }
}
