use std::ops::Deref;

use gristmill_core::Device;

/// A device of a test: when it is dropped its thread has ended, and with it all use of the driver. A driver that is in use
/// while the process ends may crash.
pub struct Opened(Device);

impl From<Device> for Opened {
    fn from(device: Device) -> Self {
        Self(device)
    }
}

impl Deref for Opened {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.close();
    }
}
