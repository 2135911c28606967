//! From lines of JSON to a table: a schema that fits every line, and nothing lost where none does.
//!
//! A column gets a type when all its values have it: text, boolean, 64-bit integer, 64-bit float, a list
//! or a struct of such. Where values disagree, or a type would lose something (an integer beyond 64 bits,
//! more digits than a float holds, an empty object, half a surrogate pair), the column is text and each
//! value stands in it as the JSON that it was. A null and an absent member are both null.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use gristmill_core::{Code, Error, Result};
use serde_json::value::RawValue;

use crate::{fault, json};

/// Beyond this many members in all its objects a column is a map in disguise.
const MAX_FIELDS: usize = 256;
const MAX_DEPTH: usize = 16;
/// A table of more columns than this helps nobody.
const MAX_COLUMNS: usize = 4096;

/// Learns a schema line by line.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    names: HashMap<String, usize>,
    columns: Vec<(String, Shape)>,
}

/// What is known of the values of one place.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Null,
    Bool,
    /// `wide`: one of them is too large for a float to tell it from its neighbours.
    Int {
        wide: bool,
    },
    Float,
    Text,
    List(Box<Shape>),
    Object(Vec<(String, Shape)>),
    /// Values that have no common type.
    Mixed,
}

impl Inference {
    /// Takes one line, which is known to be a JSON object, into account.
    pub(crate) fn observe(&mut self, line: &str) -> Result<()> {
        let members = json::members(line).map_err(|e| json::bad_line(e, line.as_bytes()))?;
        for (key, value) in members {
            let i = match self.names.get(key.as_ref()) {
                Some(&i) => i,
                None => {
                    if self.columns.len() == MAX_COLUMNS {
                        return Err(Error::new(
                            Code::Unsupported,
                            format!("over {MAX_COLUMNS} different keys"),
                        )
                        .hint("write JSONL instead of a table"));
                    }
                    self.names.insert(key.to_string(), self.columns.len());
                    self.columns.push((key.into_owned(), Shape::Null));
                    self.columns.len() - 1
                }
            };
            let shape = &mut self.columns[i].1;
            *shape = merge(std::mem::replace(shape, Shape::Null), value, 0);
            if has_mixed(shape) || count(shape) > MAX_FIELDS {
                *shape = Shape::Mixed;
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> JsonDecoder {
        let mut as_json = Vec::new();
        let fields = self.columns.into_iter().map(|(name, shape)| {
            let data_type = match data_type(&shape) {
                Some(t) => t,
                None => {
                    as_json.push(name.clone());
                    DataType::Utf8
                }
            };
            Field::new(name, data_type, true)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        JsonDecoder { schema, as_json }
    }
}

fn has_mixed(shape: &Shape) -> bool {
    match shape {
        Shape::Mixed => true,
        Shape::List(item) => has_mixed(item),
        Shape::Object(members) => members.iter().any(|(_, s)| has_mixed(s)),
        _ => false,
    }
}

fn count(shape: &Shape) -> usize {
    match shape {
        Shape::List(item) => count(item),
        Shape::Object(members) => members.iter().map(|(_, s)| 1 + count(s)).sum(),
        _ => 0,
    }
}

/// The shape of what was seen before and `value`.
fn merge(seen: Shape, value: &RawValue, depth: usize) -> Shape {
    let text = value.get();
    if depth > MAX_DEPTH {
        return Shape::Mixed;
    }
    match text.as_bytes()[0] {
        b'n' => seen,
        b't' | b'f' => unify(seen, Shape::Bool),
        b'"' => {
            // Half a surrogate pair is JSON and no text.
            let sound = !text.contains("\\u") || serde_json::from_str::<String>(text).is_ok();
            if sound { unify(seen, Shape::Text) } else { Shape::Mixed }
        }
        b'[' => {
            let mut item = match seen {
                Shape::Null => Shape::Null,
                Shape::List(item) => *item,
                _ => return Shape::Mixed,
            };
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else { return Shape::Mixed };
            for value in items {
                item = merge(item, value, depth + 1);
            }
            Shape::List(Box::new(item))
        }
        b'{' => {
            let mut known = match seen {
                Shape::Null => Vec::new(),
                Shape::Object(known) => known,
                _ => return Shape::Mixed,
            };
            let Ok(members) = json::members(text) else { return Shape::Mixed };
            for (key, value) in members {
                let i = known.iter().position(|(k, _)| *k == key).unwrap_or_else(|| {
                    known.push((key.into_owned(), Shape::Null));
                    known.len() - 1
                });
                known[i].1 = merge(std::mem::replace(&mut known[i].1, Shape::Null), value, depth + 1);
                if known.len() > MAX_FIELDS {
                    return Shape::Mixed;
                }
            }
            Shape::Object(known)
        }
        _ => unify(seen, number(text)),
    }
}

fn number(text: &str) -> Shape {
    if text != "-0" && !text.contains(['.', 'e', 'E']) {
        return match text.parse::<i64>() {
            Ok(n) => Shape::Int { wide: n.unsigned_abs() > 1 << 53 },
            Err(_) => Shape::Mixed,
        };
    }
    // Seventeen significant digits determine a float, and a float determines seventeen.
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    match text.parse::<f64>() {
        Ok(v) if v.is_finite() && significant <= 17 => Shape::Float,
        _ => Shape::Mixed,
    }
}

fn unify(seen: Shape, new: Shape) -> Shape {
    match (seen, new) {
        (Shape::Null, new) => new,
        (Shape::Int { wide: a }, Shape::Int { wide: b }) => Shape::Int { wide: a || b },
        (Shape::Int { wide: false }, Shape::Float) | (Shape::Float, Shape::Int { wide: false }) => {
            Shape::Float
        }
        (seen, new) if seen == new => seen,
        _ => Shape::Mixed,
    }
}

/// `None` where the values stay JSON.
fn data_type(shape: &Shape) -> Option<DataType> {
    Some(match shape {
        Shape::Null | Shape::Text => DataType::Utf8,
        Shape::Bool => DataType::Boolean,
        Shape::Int { .. } => DataType::Int64,
        Shape::Float => DataType::Float64,
        // Lists that were all empty have items of no known type.
        Shape::List(item) if **item == Shape::Null => return None,
        Shape::List(item) => DataType::List(Arc::new(Field::new("item", data_type(item)?, true))),
        Shape::Object(members) if members.is_empty() => return None,
        Shape::Object(members) => {
            let fields = members.iter().map(|(name, s)| Some(Field::new(name, data_type(s)?, true)));
            DataType::Struct(fields.collect::<Option<Fields>>()?)
        }
        Shape::Mixed => return None,
    })
}

/// Turns lines into rows of the schema that was learnt from them.
#[derive(Debug, Clone)]
pub(crate) struct JsonDecoder {
    schema: SchemaRef,
    as_json: Vec<String>,
}

impl JsonDecoder {
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn decode(&self, lines: &StringArray) -> Result<RecordBatch> {
        let builder = ReaderBuilder::new(self.schema.clone()).with_batch_size(lines.len() + 1);
        let mut decoder = builder.build_decoder().map_err(fault::arrow)?;
        let mut rewritten = String::new();
        for line in lines.iter().flatten() {
            let text = match self.as_json.is_empty() {
                true => line,
                false => {
                    self.rewrite(line, &mut rewritten)?;
                    &rewritten
                }
            };
            let bad = |e| Error::new(Code::Internal, format!("cannot turn a line into a row: {e}"));
            for part in [text.as_bytes(), b"\n"] {
                if decoder.decode(part).map_err(bad)? != part.len() {
                    return Err(Error::new(Code::Internal, "a line was turned into a row only in part"));
                }
            }
        }
        let batch = decoder.flush().map_err(fault::arrow)?;
        Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(self.schema.clone())))
    }

    /// The line with the values of JSON columns as strings of JSON.
    fn rewrite(&self, line: &str, out: &mut String) -> Result<()> {
        out.clear();
        out.push('{');
        for (key, value) in json::members(line).map_err(|e| json::bad_line(e, line.as_bytes()))? {
            if out.len() > 1 {
                out.push(',');
            }
            let text = value.get();
            let quote = text != "null" && self.as_json.iter().any(|k| *k == key);
            out.push_str(&quoted(&key)?);
            out.push(':');
            if quote { out.push_str(&quoted(text)?) } else { out.push_str(text) }
        }
        out.push('}');
        Ok(())
    }
}

fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|e| Error::new(Code::Internal, format!("cannot quote: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Float64Type, Int64Type};

    fn table(lines: &[&str]) -> RecordBatch {
        let mut inference = Inference::default();
        lines.iter().for_each(|l| inference.observe(l).unwrap());
        inference.finish().decode(&StringArray::from(lines.to_vec())).unwrap()
    }

    #[test]
    fn values_that_agree_get_a_type() {
        let t = table(&[
            r#"{"a":1,"b":1,"c":"x","d":[1,2],"e":{"f":true},"g":null}"#,
            r#"{"a":null,"b":1.5,"d":[],"e":{"f":null,"h":"y"},"c":"\u00e9\n"}"#,
        ]);
        let types: Vec<_> = t.schema().fields().iter().map(|f| f.data_type().to_string()).collect();
        assert_eq!(types[..3], ["Int64", "Float64", "Utf8"]);
        assert_eq!(t.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(1), None]);
        assert_eq!(t.column(1).as_primitive::<Float64Type>().values()[..], [1.0, 1.5]);
        assert_eq!(t.column(2).as_string::<i32>().value(1), "\u{e9}\n");
        assert!(matches!(t.column(3).data_type(), DataType::List(_)));
        assert!(matches!(t.column(4).data_type(), DataType::Struct(_)));
        assert_eq!((t.column(5).data_type(), t.column(5).null_count()), (&DataType::Utf8, 2));
    }

    #[test]
    fn values_that_disagree_stay_json() {
        let lines = [
            r#"{"a":1,"b":18446744073709551616,"c":0.1234567890123456789,"d":{},"e":[{"x":1}],"f":[],"g":"\ud800","h":9007199254740993}"#,
            r#"{"a":"one","b":null,"c":1,"d":{},"e":[{"x":"1"}],"f":[],"g":"ok","h":0.5}"#,
        ];
        let t = table(&lines);
        let cell = |c: usize, r: usize| t.column(c).as_string::<i32>().value(r).to_string();
        assert_eq!((cell(0, 0), cell(0, 1)), ("1".into(), "\"one\"".into()));
        assert_eq!((cell(1, 0), t.column(1).is_null(1)), ("18446744073709551616".into(), true));
        assert_eq!(cell(2, 0), "0.1234567890123456789");
        assert_eq!((cell(3, 0), cell(4, 1), cell(5, 0)), ("{}".into(), r#"[{"x":"1"}]"#.into(), "[]".into()));
        assert_eq!((cell(6, 0), cell(6, 1)), (r#""\ud800""#.into(), "\"ok\"".into()));
        assert_eq!((cell(7, 0), cell(7, 1)), ("9007199254740993".into(), "0.5".into()));
    }
}
