//! KenLM's files and numbers.
//!
//! `tests/data/kenlm` holds small files of every kind with KenLM's own scores, so that much is checked
//! everywhere. With KenLM installed (`benches/peers/setup.sh`), larger models of a real text are compared
//! word by word.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gristmill_ngram::model::Model;

use crate::peers::kenlm;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Compares with lines of KenLM's scores: the words of a sentence, a tab, and `log10:length` of each word
/// and of `</s>`. Returns how many words were unknown.
fn compare(model: &Model, name: &str, expected: &str) -> usize {
    let mut unknown = 0;
    for line in expected.lines() {
        let (sentence, scores) = line.split_once('\t').unwrap();
        let ids: Vec<_> = sentence.split_whitespace().map(|word| model.encode(word)).collect();
        unknown += ids.iter().filter(|id| **id == 0).count();
        let mut many = Vec::new();
        model.score(&ids, true, true, &mut many);
        let scores: Vec<_> = scores.split(' ').collect();
        assert_eq!(many.len(), scores.len(), "{name}: {sentence}");
        let mut state = model.begin_state();
        for (i, word) in ids.iter().copied().chain([model.eos()]).enumerate() {
            let (log10, length) = scores[i].split_once(':').unwrap();
            let (log10, length): (f32, usize) = (log10.parse().unwrap(), length.parse().unwrap());
            let (score, next) = model.full_score(&state, word);
            state = next;
            assert!((score.log10 - log10).abs() < 1e-5, "{name}: {sentence}: {i}: {} {log10}", score.log10);
            assert_eq!(score.ngram_length, length, "{name}: {sentence}: {i}");
            assert_eq!(score.log10.to_bits(), many[i].to_bits(), "{name}: {sentence}: {i}");
        }
    }
    unknown
}

#[test]
fn small_files_of_every_kind() {
    let expected = std::fs::read_to_string(data("kenlm/expected.tsv")).unwrap();
    let mut files: Vec<&str> = expected.lines().map(|line| line.split_once('\t').unwrap().0).collect();
    files.dedup();
    assert_eq!(files.len(), 13);
    for file in files {
        let model = Model::load(data("kenlm").join(file)).unwrap();
        let lines: Vec<_> =
            expected.lines().filter_map(|l| l.strip_prefix(file)?.strip_prefix('\t')).collect();
        assert!(compare(&model, file, &lines.join("\n")) > 0, "no unknown word was scored");
        assert_eq!(model.order(), 4);
        assert!(model.sha256().is_some());
        assert_eq!(model.vocab().is_some(), file.ends_with(".arpa"));
    }
}

const SCORER: &str = r#"
import kenlm, sys
model = kenlm.Model(sys.argv[1])
for line in open(sys.argv[2], encoding="utf-8"):
    sentence = line.rstrip("\n")
    print(sentence, " ".join(f"{p!r}:{n}" for p, n, _ in model.full_scores(sentence, bos=True, eos=True)), sep="\t")
"#;

fn succeed(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The same model through KenLM and through us, as ARPA and as every kind of binary.
#[test]
fn a_real_text_through_kenlm_itself() {
    let Some(kenlm) = kenlm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = data("moby-dick-32.txt");
    for order in 2..=5 {
        let arpa = path("model.arpa");
        let mut lmplz = Command::new(kenlm.join("bin/lmplz"));
        lmplz.args(["-S", "100M", "-o", &order.to_string(), "--text"]).arg(data("moby-dick-1-16.txt"));
        succeed(lmplz.arg("--arpa").arg(&arpa).arg("-T").arg(folder.path()));
        let kinds: [(&str, &[&str]); 6] = [
            ("probing", &[]),
            ("trie", &[]),
            ("trie", &["-q", "8"]),
            ("trie", &["-q", "3", "-b", "5"]),
            ("trie", &["-a", "10"]),
            ("trie", &["-q", "8", "-a", "255", "-v"]),
        ];
        let mut files = vec![("arpa".to_owned(), arpa.clone())];
        for (i, (kind, options)) in kinds.into_iter().enumerate() {
            let file = path(&format!("{i}.bin"));
            let mut build = Command::new(kenlm.join("bin/build_binary"));
            succeed(build.args(options).args(["-T".as_ref(), folder.path()]).arg(kind).arg(&arpa).arg(&file));
            files.push((format!("{kind} {options:?}"), file));
        }
        for (name, file) in &files {
            let mut python = Command::new(kenlm.join("venv/bin/python"));
            let expected = succeed(python.args(["-c", SCORER]).arg(file).arg(&text));
            let model = Model::load(file).unwrap();
            let name = format!("order {order}, {name}");
            let unknown = compare(&model, &name, &String::from_utf8(expected).unwrap());
            assert!(unknown > 500, "{name}: only {unknown} unknown words");
        }
    }
}

/// KenLM reads the ARPA files that we write, and scores with them as we do.
#[test]
fn kenlm_reads_our_arpa() {
    let Some(kenlm) = kenlm() else { return };
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours.arpa");
    let tables = gristmill_ngram::arpa::load(data("kenlm/small.arpa")).unwrap();
    gristmill_ngram::arpa::save(&tables, &ours).unwrap();
    let mut python = Command::new(kenlm.join("venv/bin/python"));
    let expected = succeed(python.args(["-c", SCORER]).arg(&ours).arg(data("moby-dick-32.txt")));
    compare(&Model::load(&ours).unwrap(), "our ARPA", &String::from_utf8(expected).unwrap());
}
