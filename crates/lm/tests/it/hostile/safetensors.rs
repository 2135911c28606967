//! safetensors headers, indices and folders.

use std::fs;

use gristmill_core::{Code, DType};
use gristmill_lm::Checkpoint;
use serde_json::{Value, json};

use super::refused;
use crate::tiny::{self, copy, parts, write};

/// Opens a small model after its header was changed.
fn with_header(change: impl FnOnce(&mut Value)) -> gristmill_core::Result<Checkpoint> {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    let (mut header, data) = parts(&path);
    change(&mut header);
    write(&path, header.to_string().as_bytes(), &data);
    Checkpoint::open(folder.path())
}

const EMBED: &str = "model.embed_tokens.weight";

#[test]
fn the_copy_is_valid() {
    assert!(with_header(|_| ()).is_ok());
}

#[test]
fn a_header_longer_than_the_file() {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for size in [bytes.len() as u64 - 7, 1 << 40, u64::MAX] {
        fs::write(&path, [&size.to_le_bytes(), &bytes[8..]].concat()).unwrap();
        refused(Checkpoint::open(folder.path()), Code::InvalidModel, "a header of");
    }
    fs::write(&path, b"abc").unwrap();
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "3 bytes");
}

#[test]
fn a_header_that_is_no_json() {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    for header in
        [&b""[..], b" {}", b"[]", b"{", b"{\"a\": }", b"{\"a\": {\"dtype\": 1}}", b"{} {}", b"{\"\xff\": 1}"]
    {
        write(&path, header, &[]);
        refused(Checkpoint::open(folder.path()), Code::InvalidModel, "header");
    }
    let deep = [b"{\"a\":".repeat(10_000), b"}".repeat(10_000)].concat();
    write(&path, &deep, &[]);
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "header");
}

#[test]
fn a_name_twice() {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    let entry = r#""a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}"#;
    write(&path, format!("{{{entry}, {entry}}}").as_bytes(), &[0; 4]);
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "twice");
}

#[test]
fn offsets_that_lie() {
    for (offsets, message) in [
        (json!([0, 1u64 << 60]), "of"),
        (json!([8, 4]), "bytes 8 to 4"),
        (json!([4, 25476]), "overlap"),
        (json!([0, 4]), "4 bytes for a F32 tensor"),
    ] {
        refused(with_header(|h| h[EMBED]["data_offsets"] = offsets), Code::InvalidModel, message);
    }
    let remove = |h: &mut Value| drop(h.as_object_mut().unwrap().remove(EMBED));
    refused(with_header(remove), Code::InvalidModel, "leave a gap");
}

#[test]
fn shapes_that_overflow() {
    for shape in [json!([1u64 << 40, 1u64 << 40]), json!([u64::MAX, 4]), json!([199, 33])] {
        refused(with_header(|h| h[EMBED]["shape"] = shape), Code::InvalidModel, "bytes for a");
    }
}

#[test]
fn data_that_no_tensor_has() {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    bytes.push(0);
    fs::write(&path, &bytes).unwrap();
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "end at byte");
    fs::write(&path, &bytes[..bytes.len() - 2]).unwrap();
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "");
}

#[test]
fn a_type_that_is_not_read() {
    refused(with_header(|h| h[EMBED]["dtype"] = "I32".into()), Code::Unsupported, "I32");
    refused(with_header(|h| h[EMBED]["dtype"] = "F4".into()), Code::Unsupported, "F4");
}

#[test]
fn a_tensor_missing_or_left_over() {
    let rename = |h: &mut Value, to: &str| {
        let entry = h.as_object_mut().unwrap().remove(EMBED).unwrap();
        h[to] = entry;
    };
    let error = refused(with_header(|h| rename(h, "model.embed")), Code::InvalidModel, "embed_tokens.weight");
    assert_eq!(error.location().column.as_deref(), Some("embed.weight"));
    let surplus = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
    refused(with_header(|h| h["model.layers.0.extra.weight"] = surplus), Code::InvalidModel, "no use for");
    let layer = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
    refused(with_header(|h| h["embed_tokens.weight"] = layer), Code::InvalidModel, "one tensor");
}

#[test]
fn a_tensor_of_another_shape() {
    refused(with_header(|h| h[EMBED]["shape"] = json!([398, 16])), Code::InvalidModel, "[199, 32]");
    refused(with_header(|h| h[EMBED]["shape"] = json!([6368])), Code::InvalidModel, "[199, 32]");
}

#[test]
fn a_tied_head_of_its_own() {
    let folder = copy("llama");
    let path = folder.path().join("model.safetensors");
    let (mut header, mut data) = parts(&path);
    let [begin, end] = [0, 1].map(|i| header[EMBED]["data_offsets"][i].as_u64().unwrap() as usize);
    let mut head = header[EMBED].clone();
    head["data_offsets"] = json!([data.len(), data.len() + end - begin]);
    header["lm_head.weight"] = head;
    data.extend_from_within(begin..end);
    write(&path, header.to_string().as_bytes(), &data);
    assert!(Checkpoint::open(folder.path()).is_ok());
    *data.last_mut().unwrap() ^= 1;
    write(&path, header.to_string().as_bytes(), &data);
    refused(Checkpoint::open(folder.path()), Code::InvalidModel, "a head");
}

#[test]
fn a_file_that_shrinks_or_vanishes() {
    let folder = copy("olmo2");
    let path = folder.path().join("model.safetensors");
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..1000]).unwrap();
    refused(checkpoint.tensor("norm.weight", DType::F32), Code::InvalidModel, "changed since");
    fs::remove_file(&path).unwrap();
    refused(checkpoint.tensor("norm.weight", DType::F32), Code::NotFound, "");
}

#[test]
fn an_index_that_lies() {
    let folder = copy("mistral");
    let path = folder.path().join("model.safetensors.index.json");
    let index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut index = index.clone();
        change(&mut index["weight_map"]);
        fs::write(&path, index.to_string()).unwrap();
        Checkpoint::open(folder.path())
    };
    assert!(with(&|_| ()).is_ok());
    for elsewhere in ["../model.safetensors", "/etc/passwd", "C:\\model.safetensors", "model.bin"] {
        refused(with(&|map| map[EMBED] = elsewhere.into()), Code::InvalidModel, "no name of a shard");
    }
    refused(with(&|map| map[EMBED] = "a.safetensors".into()), Code::NotFound, "a.safetensors");
    refused(with(&|map| map["extra"] = map[EMBED].clone()), Code::InvalidModel, "and it is not");
    refused(
        with(&|map| drop(map.as_object_mut().unwrap().remove(EMBED))),
        Code::InvalidModel,
        "does not say so",
    );
    refused(with(&|map| *map = json!({})), Code::InvalidModel, "no tensor");
    refused(with(&|map| *map = json!([])), Code::InvalidModel, "not an index");
}

#[test]
fn folders_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    refused(Checkpoint::open(folder.path()), Code::NotFound, "no model in the folder");
    refused(Checkpoint::open(folder.path().join("none")), Code::NotFound, "");
    fs::write(folder.path().join("a.gguf"), "").unwrap();
    fs::write(folder.path().join("b.GGUF"), "").unwrap();
    refused(Checkpoint::open(folder.path()), Code::InvalidArgument, "2 .gguf files");
    fs::write(folder.path().join("notes.txt"), "").unwrap();
    refused(Checkpoint::open(folder.path().join("notes.txt")), Code::Unsupported, "neither a folder nor");
    fs::copy(tiny::folder("llama").join("config.json"), folder.path().join("config.json")).unwrap();
    refused(Checkpoint::open(folder.path()), Code::NotFound, "model.safetensors");
}
