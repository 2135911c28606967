//! Judgements of pairs, read from JSON lines.

use std::collections::HashMap;

use gristmill_core::{Code, Error, Result};
use gristmill_mix::{Comparison, contradictions};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::options::OnContradiction;
use super::summary::Contradicted;

/// Contradictions that a summary shows.
const SHOWN: usize = 10;

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    a: Id,
    b: Id,
    p: Option<f64>,
    better: Option<Better>,
}

/// Ids are text; whole numbers are taken for their digits, as readers of documents do.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Better {
    A,
    B,
    Tie,
}

impl Id {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(n) => n.to_string(),
        }
    }
}

/// Judgements that can be learnt from, by numbers of documents.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// What is learnt from.
    pub(crate) comparisons: Vec<Comparison>,
    /// The ids of the documents, in the order in which they are first mentioned.
    pub(crate) ids: Vec<String>,
    /// The line that first mentions each.
    pub(crate) lines: Vec<u64>,
    pub(crate) left_out: u64,
    pub(crate) contradicted: u64,
    pub(crate) shown: Vec<Contradicted>,
    /// SHA-256 of the file, in hexadecimal.
    pub(crate) sha256: String,
}

/// Reads a file of judgements.
///
/// # Errors
/// [`Code::InvalidValue`] and [`Code::CorruptData`] with the line, from 0; [`Code::EmptyInput`] where nothing is left;
/// with [`OnContradiction::Fail`], the first pair that was judged both ways.
pub(crate) fn read(path: &str, min_confidence: f64, rule: OnContradiction) -> Result<Pairs> {
    let text = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let sha256 = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    let text = String::from_utf8(text).map_err(|e| {
        Error::new(Code::InvalidUtf8, "not UTF-8")
            .at_path(path)
            .at_offset(e.utf8_error().valid_up_to() as u64)
    })?;
    let pairs = parse(&text, min_confidence, rule).map_err(|e| e.at_path(path))?;
    Ok(Pairs { sha256, ..pairs })
}

fn parse(text: &str, min_confidence: f64, rule: OnContradiction) -> Result<Pairs> {
    if !(0.0..=0.5).contains(&min_confidence) {
        let message = format!("{min_confidence} is not between 0 and 0.5");
        return Err(Error::invalid_argument("minConfidence", message));
    }
    let mut pairs = Pairs {
        comparisons: Vec::new(),
        ids: Vec::new(),
        lines: Vec::new(),
        left_out: 0,
        contradicted: 0,
        shown: Vec::new(),
        sha256: String::new(),
    };
    let mut numbers = HashMap::new();
    // The line of each comparison.
    let mut from = Vec::new();
    for (line, json) in (0u64..).zip(text.lines()).filter(|(_, json)| !json.trim().is_empty()) {
        let (a, b, probability) = one(json).map_err(|e| e.at_row(line))?;
        if (probability - 0.5).abs() < min_confidence {
            pairs.left_out += 1;
            continue;
        }
        let mut number = |id: String| {
            *numbers.entry(id).or_insert_with_key(|id: &String| {
                pairs.ids.push(id.clone());
                pairs.lines.push(line);
                pairs.ids.len() - 1
            })
        };
        pairs.comparisons.push(Comparison { a: number(a), b: number(b), probability });
        from.push(line);
    }
    pairs.settle(&from, rule)?;
    if pairs.comparisons.is_empty() {
        return Err(Error::new(Code::EmptyInput, "no judgement is left to learn from"));
    }
    Ok(pairs)
}

fn one(json: &str) -> Result<(String, String, f64)> {
    let hint = "a line is {\"a\": \"id\", \"b\": \"id\", \"p\": 0.8}, p the probability that a is better, or \"better\": \"a\"";
    let line: Line = serde_json::from_str(json)
        .map_err(|e| Error::new(Code::CorruptData, format!("this is no judgement: {e}")).hint(hint))?;
    let probability = match (line.p, line.better) {
        (Some(p), None) if (0.0..=1.0).contains(&p) => p,
        (Some(p), None) => {
            return Err(Error::new(Code::InvalidValue, format!("{p} is no probability")).at_column("p"));
        }
        (None, Some(Better::A)) => 1.0,
        (None, Some(Better::B)) => 0.0,
        (None, Some(Better::Tie)) => 0.5,
        _ => {
            return Err(Error::new(Code::InvalidValue, "give p or better, one of them")
                .at_column("p")
                .hint(hint));
        }
    };
    let (a, b) = (line.a.into_text(), line.b.into_text());
    if a == b {
        let message = format!("the document {a:?} is compared with itself");
        return Err(Error::new(Code::InvalidValue, message).at_column("b"));
    }
    Ok((a, b, probability))
}

impl Pairs {
    /// Finds what contradicts, and keeps it, drops it, or fails because of it.
    fn settle(&mut self, from: &[u64], rule: OnContradiction) -> Result<()> {
        let found = contradictions(&self.comparisons);
        self.contradicted = found.len() as u64;
        let lines = |places: &[usize]| places.iter().map(|&place| from[place]).collect::<Vec<u64>>();
        if let (OnContradiction::Fail, Some(first)) = (rule, found.first()) {
            let (one, other) = (from[first.for_a[0]], from[first.for_b[0]]);
            let message = format!(
                "{:?} and {:?} are judged both ways, in lines {} and {} (from 0), and so are {} pairs in all",
                self.ids[first.a],
                self.ids[first.b],
                one.min(other),
                one.max(other),
                found.len()
            );
            return Err(Error::new(Code::InvalidValue, message).at_row(one.max(other)).hint(
                "keep both, which pulls towards a tie, with --contradictions keep, or neither with drop",
            ));
        }
        self.shown = found[..found.len().min(SHOWN)]
            .iter()
            .map(|c| Contradicted {
                a: self.ids[c.a].clone(),
                b: self.ids[c.b].clone(),
                for_a: lines(&c.for_a),
                for_b: lines(&c.for_b),
            })
            .collect();
        if rule == OnContradiction::Drop {
            let mut gone = vec![false; self.comparisons.len()];
            found.iter().flat_map(|c| c.for_a.iter().chain(&c.for_b)).for_each(|&place| gone[place] = true);
            self.left_out += gone.iter().filter(|g| **g).count() as u64;
            let mut gone = gone.into_iter();
            self.comparisons.retain(|_| !gone.next().unwrap_or(false));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "{\"a\":\"x\",\"b\":\"y\",\"p\":0.9}\n",
        "\n",
        "{\"a\":\"z\",\"b\":7,\"better\":\"b\"}\n",
        "{\"a\":\"y\",\"b\":\"x\",\"better\":\"a\"}\n",
        "{\"a\":\"x\",\"b\":\"z\",\"p\":0.55}\n",
    );

    #[test]
    fn judgements_are_read_with_their_contradictions() {
        let pairs = parse(TEXT, 0.0, OnContradiction::Keep).unwrap();
        assert_eq!(pairs.ids, ["x", "y", "z", "7"]);
        assert_eq!((pairs.lines, pairs.contradicted), (vec![0, 0, 2, 2], 1));
        let c = |a, b, probability| Comparison { a, b, probability };
        assert_eq!(pairs.comparisons, [c(0, 1, 0.9), c(2, 3, 0.0), c(1, 0, 1.0), c(0, 2, 0.55)]);
        let shown = Contradicted { a: "x".into(), b: "y".into(), for_a: vec![0], for_b: vec![3] };
        assert_eq!(pairs.shown, [shown]);

        let dropped = parse(TEXT, 0.1, OnContradiction::Drop).unwrap();
        assert_eq!((dropped.comparisons, dropped.left_out), (vec![c(2, 3, 0.0)], 3));
        let e = parse(TEXT, 0.0, OnContradiction::Fail).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(3)));
        assert!(e.message().contains("lines 0 and 3"), "{e}");
    }

    #[test]
    fn what_is_no_judgement_is_named_by_its_line() {
        let good = "{\"a\":\"x\",\"b\":\"y\",\"p\":1}\n";
        for (line, code) in [
            ("{", Code::CorruptData),
            ("[1]", Code::CorruptData),
            ("{\"a\":\"x\",\"p\":1}", Code::CorruptData),
            ("{\"a\":\"x\",\"b\":\"y\",\"q\":1,\"p\":1}", Code::CorruptData),
            ("{\"a\":\"x\",\"b\":\"y\",\"better\":\"c\"}", Code::CorruptData),
            ("{\"a\":\"x\",\"b\":\"y\"}", Code::InvalidValue),
            ("{\"a\":\"x\",\"b\":\"y\",\"p\":1,\"better\":\"a\"}", Code::InvalidValue),
            ("{\"a\":\"x\",\"b\":\"y\",\"p\":1.5}", Code::InvalidValue),
            ("{\"a\":\"x\",\"b\":\"x\",\"p\":1}", Code::InvalidValue),
        ] {
            let e = parse(&format!("{good}{line}\n"), 0.0, OnContradiction::Keep).unwrap_err();
            assert_eq!((e.code(), e.location().row), (code, Some(1)), "{line}: {e}");
        }
        assert_eq!(parse("\n", 0.0, OnContradiction::Keep).unwrap_err().code(), Code::EmptyInput);
        let e = parse(good, 0.7, OnContradiction::Keep).unwrap_err();
        assert_eq!(e.location().column.as_deref(), Some("minConfidence"));
        assert_eq!(read("/no/such.jsonl", 0.0, OnContradiction::Keep).unwrap_err().code(), Code::NotFound);
    }
}
