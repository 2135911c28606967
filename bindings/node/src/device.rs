//! The class that computes.

use std::cell::Cell;

use gristmill::devices::Reason;
use gristmill_core::{Control, Device};
use gristmill_data::{TensorColumn, read_tensor};
use napi::Either;
use napi::bindgen_prelude::{BigInt, Env, Object, ObjectFinalize, Uint8Array};
use napi_derive::napi;

use crate::args::{draw, dtype, shape, word};
use crate::cancel::CancelHandle;
use crate::error::{guarded, print, to_js};
use crate::task::{self, Devices, spawn};
use crate::tensor::TensorHandle;

/// A device: a queue of work on a thread of its own.
#[napi(custom_finalize)]
pub struct DeviceHandle {
    pub(crate) device: Device,
    passed_over: Vec<Reason>,
    devices: Devices,
    id: u64,
    /// Whether somebody closes it or has closed it.
    closing: Cell<bool>,
}

/// How much memory the tensors of a device take.
#[napi(object, object_from_js = false)]
pub struct DeviceMemory {
    /// Bytes of the tensors that somebody holds.
    pub live_bytes: f64,
    /// Tensors with memory of their own (views apart) that somebody holds.
    pub live_tensors: f64,
    /// Bytes that were given back and wait for another use.
    pub pooled_bytes: f64,
    /// The most that `liveBytes` has been.
    pub peak_bytes: f64,
    /// How often the backend was asked for memory.
    pub allocations: f64,
}

/// A column of a table on a device: its elements, and where its rows begin if they differ in length.
#[napi]
pub struct ColumnHandle {
    column: TensorColumn,
}

#[napi]
impl ColumnHandle {
    /// The elements.
    #[napi]
    pub fn values(&self, env: Env) -> TensorHandle {
        let (TensorColumn::Dense(values) | TensorColumn::Ragged { values, .. }) = &self.column;
        TensorHandle::own(&env, values.clone())
    }

    /// Where rows begin and end, if they differ in length.
    #[napi]
    pub fn offsets(&self, env: Env) -> Option<TensorHandle> {
        match &self.column {
            TensorColumn::Dense(_) => None,
            TensorColumn::Ragged { offsets, .. } => Some(TensorHandle::own(&env, offsets.clone())),
        }
    }
}

/// Opens a device by its selector, on a thread of its own: drivers take their time.
#[napi(ts_return_type = "Promise<DeviceHandle>")]
pub fn open_device<'env>(
    env: &'env Env,
    selector: String,
    cancel: &CancelHandle,
) -> napi::Result<Object<'env>> {
    let devices = task::devices(env)?;
    let token = cancel.token.clone();
    let control = Control::with_cancel(token.clone());
    let open = move || {
        control.check()?;
        let opened = gristmill::devices::open(&selector)?;
        // At once: if the environment goes away now, the device goes with it.
        let id = devices.insert(&opened.device);
        control.check().inspect_err(|_| devices.close(id))?;
        Ok((opened, devices, id))
    };
    spawn(env, "gristmill-open", token, open, |(opened, devices, id)| DeviceHandle {
        device: opened.device,
        passed_over: opened.passed_over,
        devices,
        id,
        closing: Cell::new(false),
    })
}

#[napi]
impl DeviceHandle {
    /// What it is, and what was passed over for it, as JSON text.
    #[napi]
    pub fn describe(&self, env: Env) -> napi::Result<String> {
        let parts = || Ok((print(self.device.info())?, print(&self.passed_over)?));
        let (info, passed_over) = guarded(parts).map_err(|e| to_js(&env, &e))?;
        Ok(format!("{{\"info\":{info},\"passedOver\":{passed_over}}}"))
    }

    /// How much memory its tensors take.
    #[napi]
    pub fn memory(&self) -> DeviceMemory {
        let memory = self.device.memory();
        DeviceMemory {
            live_bytes: memory.live_bytes as f64,
            live_tensors: memory.live_tensors as f64,
            pooled_bytes: memory.pooled_bytes as f64,
            peak_bytes: memory.peak_bytes as f64,
            allocations: memory.allocations as f64,
        }
    }

    /// A tensor of zeros.
    #[napi]
    pub fn zeros(&self, env: Env, dtype: String, shape: Vec<f64>) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || self.device.zeros(self::dtype(&dtype)?, self::shape(&shape)?))
    }

    /// A tensor with the elements that these bytes are. They are copied: JavaScript may change them afterwards.
    #[napi]
    pub fn tensor(
        &self,
        env: Env,
        bytes: &[u8],
        dtype: String,
        shape: Vec<f64>,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || {
            let copy = Box::new(Aligned::copy(bytes)?);
            self.device.tensor_from(copy, self::dtype(&dtype)?, self::shape(&shape)?)
        })
    }

    /// A tensor in memory of JavaScript, where the device can use it as it is. Nothing else may be able to change or
    /// detach these bytes: their buffer was transferred to us.
    #[napi]
    pub fn adopt(
        &self,
        env: Env,
        bytes: Uint8Array,
        dtype: String,
        shape: Vec<f64>,
    ) -> napi::Result<TensorHandle> {
        struct Lent(Uint8Array);
        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        TensorHandle::of(&env, || {
            self.device.tensor_from(Box::new(Lent(bytes)), self::dtype(&dtype)?, self::shape(&shape)?)
        })
    }

    /// A column of an Arrow IPC stream or file. The bytes are copied first: JavaScript may change them while this
    /// works.
    #[napi(ts_return_type = "Promise<ColumnHandle>")]
    pub fn from_arrow<'env>(&self, env: &'env Env, ipc: &[u8], column: String) -> napi::Result<Object<'env>> {
        let (device, bytes) = (self.device.clone(), ipc.to_vec());
        let read = move || read_tensor(bytes, &column, &device);
        spawn(env, "gristmill-arrow", Default::default(), read, |column| ColumnHandle { column })
    }

    /// Random numbers.
    #[napi]
    pub fn philox(
        &self,
        env: Env,
        shape: Vec<f64>,
        draw: String,
        #[napi(ts_arg_type = "number | bigint")] seed: Either<f64, BigInt>,
        #[napi(ts_arg_type = "number | bigint")] stream: Either<f64, BigInt>,
        #[napi(ts_arg_type = "number | bigint")] offset: Either<f64, BigInt>,
    ) -> napi::Result<TensorHandle> {
        TensorHandle::of(&env, || {
            let (seed, stream) = (word("seed", seed)?, word("stream", stream)?);
            let offset = word("offset", offset)?;
            self.device.philox(self::shape(&shape)?, self::draw(&draw)?, seed, stream, offset)
        })
    }

    /// Waits for everything that was enqueued before.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn synchronize<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let device = self.device.clone();
        spawn(env, "gristmill-wait", Default::default(), move || device.synchronize(), |()| ())
    }

    /// Lets the work that was enqueued finish, ends the thread and gives all memory back.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.closing.set(true);
        let (device, devices, id) = (self.device.clone(), self.devices.clone(), self.id);
        let close = move || {
            device.close();
            devices.close(id);
            Ok(())
        };
        spawn(env, "gristmill-close", Default::default(), close, |()| ())
    }
}

impl ObjectFinalize for DeviceHandle {
    /// Nobody holds the device or one of its tensors any more. A collector may not wait for a driver, so a thread does.
    fn finalize(self, env: Env) -> napi::Result<()> {
        if !self.closing.get() && self.devices.contains(self.id) {
            self.close(&env)?;
        }
        Ok(())
    }
}

/// Bytes of ours, aligned for every element type.
struct Aligned {
    words: Vec<u64>,
    bytes: usize,
}

impl Aligned {
    fn copy(bytes: &[u8]) -> gristmill_core::Result<Self> {
        let mut words = Vec::new();
        let needed = bytes.len().div_ceil(size_of::<u64>());
        words.try_reserve_exact(needed).map_err(|e| {
            gristmill_core::Error::new(
                gristmill_core::Code::OutOfMemory,
                format!("cannot copy {} bytes: {e}", bytes.len()),
            )
        })?;
        let (whole, rest) = bytes.as_chunks::<8>();
        words.extend(whole.iter().map(|chunk| u64::from_ne_bytes(*chunk)));
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_ne_bytes(last));
        }
        Ok(Self { words, bytes: bytes.len() })
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}
