//! The committed PTX is that of the sources.

use std::fs;
use std::path::{Path, PathBuf};

use gristmill_cuda::KERNELS;
use sha2::{Digest, Sha256};

use crate::shim::{files, here};

/// A file and what it includes from its folder, each once, in the order in which they are met.
fn with_includes(path: PathBuf, seen: &mut Vec<PathBuf>) {
    if seen.contains(&path) || !path.exists() {
        return;
    }
    let text = fs::read_to_string(&path).unwrap();
    seen.push(path.clone());
    for line in text.lines() {
        let name = line.trim_start().strip_prefix("#include \"").and_then(|rest| rest.split('"').next());
        if let Some(name) = name {
            with_includes(path.with_file_name(name), seen);
        }
    }
}

/// SHA-256 over name, length and bytes of each of them, as kernels/build.py does it.
fn source_hash(path: &Path) -> String {
    let mut sources = Vec::new();
    with_includes(path.to_path_buf(), &mut sources);
    let mut hash = Sha256::new();
    for source in sources {
        let content = fs::read(&source).unwrap();
        let name = source.file_name().unwrap().to_str().unwrap();
        hash.update(format!("{name} {}\n", content.len()));
        hash.update(content);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_ptx_was_made_from_these_sources() {
    let sources = files(&here().join("kernels"), "cu");
    assert_eq!(sources.len(), KERNELS.len());
    for path in sources {
        let op = path.file_stem().unwrap().to_str().unwrap();
        let ptx = KERNELS.iter().find(|(name, _)| *name == op).unwrap().1;
        let mut head = ptx.lines();
        assert_eq!(head.next(), Some(&*format!("// Generated from {op}.cu by build.py: do not edit.")));
        assert_eq!(
            head.next(),
            Some(&*format!("// source {}", source_hash(&path))),
            "{op}.cu or what it includes has changed: npm run kernels"
        );
        assert_eq!(head.next(), Some("// compiler NVRTC 12.0.140"));
        // What every driver from 525 on reads, for every GPU from Ampere on.
        assert!(ptx.contains("\n.version 8.0\n") && ptx.contains("\n.target sm_80\n"), "{op}");
    }
}

#[test]
fn a_change_in_an_include_changes_the_hash() {
    let folder = tempfile();
    fs::write(folder.join("a.cu"), "#include \"b.cuh\"\n#include \"absent.h\"\n").unwrap();
    fs::write(folder.join("b.cuh"), "one").unwrap();
    let before = source_hash(&folder.join("a.cu"));
    fs::write(folder.join("b.cuh"), "two").unwrap();
    assert_ne!(before, source_hash(&folder.join("a.cu")));
    fs::write(folder.join("b.cuh"), "one").unwrap();
    assert_eq!(before, source_hash(&folder.join("a.cu")));
    fs::remove_dir_all(folder).unwrap();
}

fn tempfile() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sources-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Every kernel that the backend launches is in the PTX under that name: the conformance table launches them all by
/// these names on the host, and both come from one source.
#[test]
fn the_ptx_has_as_many_kernels_as_the_sources_declare() {
    let counts = [
        ("fill", 1),
        ("copy", 5),
        ("cast", 30),
        ("axpby", 9),
        ("matmul", 20),
        ("topk", 8),
        ("gather", 5),
        ("norm", 9),
        ("attention", 10),
        ("clip_linear_fused", 7),
        ("clipped_grad", 7),
        ("per_sample_norms", 15),
    ];
    for (op, entries) in counts {
        let ptx = KERNELS.iter().find(|(name, _)| *name == op).unwrap().1;
        assert_eq!(ptx.matches("\n.visible .entry ").count(), entries, "{op}");
    }
}
