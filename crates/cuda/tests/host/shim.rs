//! Kernels as a shared object for the host, compiled once for each content.

use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use libloading::{Library, Symbol};

/// How the sources are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// As they are.
    Plain,
    /// With the address and undefined-behaviour sanitizers; the process must have loaded libasan first.
    Sanitized,
    /// Kernels of `faulty.cu`, which are wrong on purpose.
    Faulty,
    /// The same with the sanitizers.
    FaultySanitized,
}

impl Build {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Build::Plain | Build::Faulty => &["-O2"],
            Build::Sanitized | Build::FaultySanitized => {
                &["-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
            }
        }
    }

    fn sources(self) -> Vec<PathBuf> {
        let host = here().join("tests/host");
        let mut sources = vec![host.join("runtime.cpp")];
        match self {
            Build::Faulty | Build::FaultySanitized => sources.push(host.join("faulty.cu")),
            Build::Plain | Build::Sanitized => sources.extend(files(&here().join("kernels"), "cu")),
        }
        sources
    }
}

pub(crate) fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// Whether `GRISTMILL_REQUIRE` asks for the host kernels.
pub(crate) fn required() -> bool {
    std::env::var("GRISTMILL_REQUIRE").is_ok_and(|r| r.split(',').any(|part| part.trim() == "cuda-host"))
}

/// The version of the compiler, or why nothing can be compiled here.
pub(crate) fn compiler() -> Result<&'static str, String> {
    static VERSION: OnceLock<Result<String, String>> = OnceLock::new();
    let version = VERSION.get_or_init(|| {
        if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
            return Err("the shim switches stacks on Linux for x86-64 and arm64 alone".into());
        }
        let output = Command::new("g++").arg("--version").output().map_err(|e| format!("no g++: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    });
    version.as_deref().map_err(Clone::clone)
}

/// The kernels, or `None` (and the reason printed) where they cannot be compiled and need not be.
pub(crate) fn load(build: Build) -> Option<Arc<Kernels>> {
    if let Err(why) = compiler() {
        assert!(!required(), "cuda-host is required: {why}");
        eprintln!("skipped: {why}");
        return None;
    }
    Some(Kernels::open(&compile(build)))
}

/// Compiles, unless the same sources were compiled in the same way before; returns the shared object.
pub(crate) fn compile(build: Build) -> PathBuf {
    static COMPILING: Mutex<()> = Mutex::new(());
    let _one = COMPILING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut hash = DefaultHasher::new();
    (build.flags(), compiler().unwrap()).hash(&mut hash);
    let headers = [files(&here().join("kernels"), "cuh"), files(&here().join("tests/host"), "h")].concat();
    for path in build.sources().iter().chain(&headers) {
        (path.file_name(), fs::read(path).unwrap()).hash(&mut hash);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda-host");
    let library = folder.join(format!("{:016x}-{build:?}.so", hash.finish()));
    if library.exists() {
        return library;
    }
    // Under a name of its own until it is whole: other processes may look for it.
    let work = folder.join(format!("{}-{build:?}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    let sources = build.sources();
    let objects: Vec<_> =
        sources.iter().map(|s| work.join(s.file_name().unwrap()).with_extension("o")).collect();
    let jobs: Vec<_> = sources.iter().zip(&objects).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let mine: Vec<_> = jobs.iter().skip(worker).step_by(workers).copied().collect();
            scope.spawn(move || {
                mine.into_iter().for_each(|(source, object)| compile_one(build, source, object))
            });
        }
    });
    let linked = work.join("linked.so");
    run(Command::new("g++").args(["-shared", "-o"]).arg(&linked).args(&objects).args(build.flags()));
    fs::rename(&linked, &library).unwrap();
    fs::remove_dir_all(&work).unwrap();
    library
}

fn compile_one(build: Build, source: &Path, object: &Path) {
    let host = here().join("tests/host");
    run(Command::new("g++")
        .args(["-std=c++17", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing", "-ffp-contract=off"])
        .args(["-Wall", "-Wextra", "-Werror", "-DGRISTMILL_HOST", "-x", "c++", "-c"])
        .args(build.flags())
        .arg("-I")
        .arg(host)
        .arg("-I")
        .arg(here().join("kernels"))
        .arg(source)
        .arg("-o")
        .arg(object));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

type Kernel = unsafe extern "C" fn(*const c_void);
type Launch = unsafe extern "C" fn(Kernel, *const c_void, *const u32, u32, usize) -> *const c_char;

/// A shared object of kernels.
pub(crate) struct Kernels(Library);

impl Kernels {
    fn open(path: &Path) -> Arc<Self> {
        // SAFETY: the object was compiled from our own sources, and its initialisers do nothing but the C++ runtime's.
        Arc::new(Self(unsafe { Library::new(path) }.unwrap()))
    }

    fn symbol<T>(&self, name: &str) -> Result<Symbol<'_, T>, String> {
        let name = CString::new(name).unwrap();
        // SAFETY: callers name functions of the type that they ask for.
        unsafe { self.0.get(name.as_bytes_with_nul()) }.map_err(|e| e.to_string())
    }

    /// Runs a kernel in blocks of `threads`: in ascending order for 0, descending for 1, at random by any other seed.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        threads: u32,
        shared: usize,
        args: &[u8],
        order: u64,
    ) -> Result<(), String> {
        let size = self.symbol::<unsafe extern "C" fn() -> usize>(&format!("{kernel}_bytes"))?;
        // SAFETY: every kernel has this function.
        let size = unsafe { size() };
        if size != args.len() {
            return Err(format!("{kernel} takes {size} bytes of arguments, given {}", args.len()));
        }
        // Words, so that they are aligned.
        let mut words = vec![0u64; args.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..args.len()].copy_from_slice(args);
        let set_order = self.symbol::<unsafe extern "C" fn(u64)>("cuda_host_order")?;
        let launch = self.symbol::<Launch>("cuda_host_launch")?;
        let kernel = self.symbol::<Kernel>(kernel)?;
        // SAFETY: the kernel takes a struct of this size; what its pointers lead to is the backend's to get right, and
        // what these tests are for.
        let message = unsafe {
            set_order(order);
            launch(*kernel, words.as_ptr().cast(), grid.as_ptr(), threads, shared)
        };
        if message.is_null() {
            return Ok(());
        }
        // SAFETY: a string that stays until the next launch of this thread.
        Err(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned())
    }
}
