import type { DeviceInfo } from './device.js';
import { type DeviceReason, fromNative } from './errors.js';
import { native, platform } from './native.js';

/** What is there of a backend. */
export interface DoctorBackend {
  /** `cpu`, `wgpu` or `cuda`. */
  name: string;
  /** Whether one of its devices can be used. */
  available: boolean;
  /** Why not, if none can. */
  reason?: DeviceReason;
  /** Its devices; `unusable` says why one cannot be opened. */
  devices: (DeviceInfo & { unusable?: string })[];
}

/** What this machine and this build can do. */
export interface Doctor {
  /** The version of Gristmill. */
  version: string;
  /** The version of Node.js that runs this. */
  node: string;
  /** The platform package that this process uses, such as `linux-x64-gnu`. */
  platform: string;
  os: string;
  cpu: {
    architecture: string;
    /** Instruction-set extensions that were found. */
    features: string[];
    /** The widest vectors that kernels use here. */
    vectors: string;
    /** Threads that this process may use. */
    threads: number;
  };
  /** Main memory in bytes, as far as it is known. */
  memory: { total?: number; available?: number; limit?: number };
  /** Where sorts spill to unless a job names another directory. */
  tempDir: string;
  /** The devices of this machine by backend, and why a backend has none that can be used. */
  backends: DoctorBackend[];
  /** What `openDevice({ device: 'auto' })` would open, and why it would pass over others. */
  auto: { selector: string; passedOver: DeviceReason[] };
  /** What can be read. */
  reads: {
    formats: string[];
    compressions: string[];
    stores: string[];
    models: string[];
    normalizers: string[];
  };
}

/** Reports what this machine and this build can do. */
export function doctor(): Doctor {
  try {
    const report = JSON.parse(native().doctor()) as Omit<Doctor, 'node' | 'platform'>;
    return { ...report, node: process.version, platform: platform() };
  } catch (error) {
    throw fromNative(error);
  }
}
