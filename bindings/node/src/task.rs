//! Work on threads of its own, and what becomes of it when the environment goes away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use gristmill_core::{CancelToken, Code, Device, Error, Result};
use napi::bindgen_prelude::{Env, Object, ToNapiValue};
use napi_derive::napi;

use crate::error::{guarded, to_js};

/// The threads that one Node environment has under way.
#[derive(Default)]
struct Tasks {
    started: u64,
    running: HashMap<u64, Task>,
}

struct Task {
    cancel: CancelToken,
    thread: JoinHandle<()>,
}

type Shared = Arc<Mutex<Tasks>>;

fn lock(tasks: &Shared) -> MutexGuard<'_, Tasks> {
    tasks.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The devices that one Node environment has open.
#[derive(Clone, Default)]
pub(crate) struct Devices(Arc<Mutex<OpenDevices>>);

#[derive(Default)]
struct OpenDevices {
    opened: u64,
    open: HashMap<u64, Device>,
}

impl Devices {
    fn lock(&self) -> MutexGuard<'_, OpenDevices> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Remembers a device until it is closed; returns its number.
    pub(crate) fn insert(&self, device: &Device) -> u64 {
        let mut devices = self.lock();
        let id = devices.opened;
        devices.opened += 1;
        devices.open.insert(id, device.clone());
        id
    }

    /// Whether it is open.
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.lock().open.contains_key(&id)
    }

    /// Closes the device of this number, and forgets it. Does nothing the second time.
    pub(crate) fn close(&self, id: u64) {
        let device = self.lock().open.remove(&id);
        if let Some(device) = device {
            device.close();
        }
    }

    /// Ends all of them without doing what nobody will read.
    fn abandon(&self) {
        let open = std::mem::take(&mut self.lock().open);
        open.values().for_each(Device::abandon);
    }
}

/// What the addon keeps for one Node environment.
#[derive(Clone, Default)]
struct Environment {
    tasks: Shared,
    devices: Devices,
}

/// Runs once per environment, when it loads the addon: the main thread's and each worker's own.
#[napi(module_exports)]
pub fn init(_exports: Object<'_>, env: Env) -> napi::Result<()> {
    let environment = Environment::default();
    let at_exit = environment.clone();
    env.set_instance_data(environment, (), |_| {})?;
    env.add_env_cleanup_hook(at_exit, |Environment { tasks, devices }| {
        let running = std::mem::take(&mut lock(&tasks).running);
        running.values().for_each(|task| task.cancel.cancel());
        // First, since tasks wait for devices.
        devices.abandon();
        for task in running.into_values() {
            // Its panics were caught inside: there is nothing to learn from the result.
            let _ = task.thread.join();
        }
        // Those that were opened meanwhile.
        devices.abandon();
    })?;
    Ok(())
}

fn environment(env: &Env) -> napi::Result<Environment> {
    let environment = env.get_instance_data::<Environment>()?;
    let missing = || to_js(env, &Error::new(Code::Internal, "the addon was not initialised"));
    environment.cloned().ok_or_else(missing)
}

/// The devices of this environment.
pub(crate) fn devices(env: &Env) -> napi::Result<Devices> {
    Ok(environment(env)?.devices)
}

/// Starts `work` on a thread named `name` and returns the promise of its result, which `convert` turns into
/// a JavaScript value on the JavaScript thread.
pub(crate) fn spawn<'env, T, V>(
    env: &'env Env,
    name: &str,
    cancel: CancelToken,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    convert: impl FnOnce(T) -> V + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    V: ToNapiValue + 'static,
{
    spawn_in(env, name, cancel, work, |_, made| convert(made))
}

/// The same for values that the environment is told of.
pub(crate) fn spawn_in<'env, T, V>(
    env: &'env Env,
    name: &str,
    cancel: CancelToken,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    convert: impl FnOnce(&Env, T) -> V + Send + 'static,
) -> napi::Result<Object<'env>>
where
    T: Send + 'static,
    V: ToNapiValue + 'static,
{
    let tasks = environment(env)?.tasks;
    let (deferred, promise) = env.create_deferred()?;
    // Held until the thread is in the table, so that it cannot finish and look itself up before it is there.
    let mut table = lock(&tasks);
    let id = table.started;
    table.started += 1;
    let owner = tasks.clone();
    let thread = Builder::new().name(name.into()).spawn(move || {
        let outcome = guarded(work);
        deferred.resolve(move |env: Env| {
            let finished = lock(&owner).running.remove(&id);
            if let Some(task) = finished {
                let _ = task.thread.join();
            }
            outcome.map(|made| convert(&env, made)).map_err(|e| to_js(&env, &e))
        });
    });
    match thread {
        Ok(thread) => {
            table.running.insert(id, Task { cancel, thread });
            Ok(promise)
        }
        Err(e) => {
            let e = Error::new(Code::OutOfMemory, format!("cannot start a thread: {e}"));
            Err(to_js(env, &e))
        }
    }
}
