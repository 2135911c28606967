//! Row filters in the Common Expression Language: `lang == "en" && score > 0.5`.
//!
//! A variable is a column. Only the columns that an expression names are decoded for it. Integers, floats,
//! booleans and strings are themselves; lists are lists; structs and JSON objects are maps
//! (`metadata.source == "wiki"`); dates and times are ISO 8601 strings, which compare as they should; a
//! null, and a key that a JSON line does not have, is `null`. An expression that has no meaning for a row
//! (`score > 0.5` where `score` is null) is bad input in that row: write `score != null && score > 0.5`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, Env, ExecutionError, IdedExpr, Program, Value};
use gristmill_core::{Code, Error, Result};

use crate::fault;

/// A parsed row filter; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Filter(Arc<Parsed>);

#[derive(Debug)]
struct Parsed {
    text: String,
    program: Program,
    columns: Vec<String>,
}

/// Names that mean a type unless there is a column of this name.
const TYPES: [&str; 10] =
    ["int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type"];

impl Filter {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        // The generated parser is large; what it does with hostile text is guarded like a decoder.
        let program = fault::guard("filter", || {
            Program::compile(text).map_err(|e| {
                Error::invalid_argument("where", format!("cannot parse {text:?}: {e}"))
                    .hint("Common Expression Language, such as lang == \"en\" && score > 0.5")
            })
        });
        let program = program.map_err(|e| match e.code() {
            Code::CorruptData => Error::invalid_argument("where", format!("cannot parse {text:?}")),
            _ => e,
        })?;
        let mut columns = BTreeSet::new();
        free_names(program.expression(), &mut Vec::new(), &mut columns);
        let columns = columns.into_iter().collect();
        Ok(Self(Arc::new(Parsed { text: text.into(), program, columns })))
    }

    /// The columns that the expression names, sorted.
    pub(crate) fn columns(&self) -> &[String] {
        &self.0.columns
    }

    /// Whether a column of this name has to be there.
    pub(crate) fn requires(&self, column: &str) -> bool {
        !TYPES.contains(&column)
    }

    pub(crate) fn missing(&self, column: &str, have: &[impl AsRef<str>]) -> Error {
        Error::new(
            Code::MissingColumn,
            format!("the filter {:?} refers to a column that is not there", self.0.text),
        )
        .at_column(column)
        .hint(format!("there are: {}", join_names(have)))
    }

    pub(crate) fn evaluator(&self) -> Evaluator {
        Evaluator { filter: self.clone(), context: Context::with_env(Arc::new(Env::stdlib())) }
    }
}

pub(crate) fn join_names(names: &[impl AsRef<str>]) -> String {
    const SHOWN: usize = 24;
    let mut out = names.iter().take(SHOWN).map(|n| n.as_ref()).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        out.push_str(", \u{2026}");
    }
    if out.is_empty() { "no column".into() } else { out }
}

/// Evaluates a filter row by row, on one thread.
pub(crate) struct Evaluator {
    filter: Filter,
    context: Context<'static, 'static>,
}

impl Evaluator {
    /// Sets the value of a column for the next [`Evaluator::keeps`].
    pub(crate) fn set(&mut self, column: &str, value: Value) {
        self.context.add_variable_from_value(column, value);
    }

    /// Whether the row with the values that were set is kept.
    pub(crate) fn keeps(&self) -> Result<bool> {
        let Parsed { text, program, .. } = &*self.filter.0;
        match program.execute(&self.context) {
            Ok(Value::Bool(keep)) => Ok(keep),
            Ok(other) => Err(Error::new(
                Code::WrongType,
                format!("the filter {text:?} gives {}, not true or false", other.type_of()),
            )
            .at_column("where")),
            Err(ExecutionError::UndeclaredReference(name)) => Err(Error::invalid_argument(
                "where",
                format!("the filter {text:?} uses the unknown name {name:?}"),
            )),
            Err(e) => {
                Err(Error::new(Code::InvalidValue, format!("the filter {text:?} has no value here: {e}"))
                    .hint("test for null first: x != null && x > 0.5"))
            }
        }
    }
}

/// Collects identifiers that no comprehension (`exists`, `all`, `map`, …) binds.
fn free_names(e: &IdedExpr, bound: &mut Vec<String>, out: &mut BTreeSet<String>) {
    match &e.expr {
        Expr::Unspecified | Expr::Literal(_) => {}
        Expr::Ident(name) => {
            let name = name.trim_start_matches('.');
            if !name.starts_with('@') && !bound.iter().any(|b| b == name) {
                out.insert(name.to_string());
            }
        }
        Expr::Call(call) => {
            call.target.iter().for_each(|t| free_names(t, bound, out));
            call.args.iter().for_each(|a| free_names(a, bound, out));
        }
        Expr::List(list) => list.elements.iter().for_each(|x| free_names(x, bound, out)),
        Expr::Select(select) => free_names(&select.operand, bound, out),
        Expr::Map(map) => map.entries.iter().for_each(|x| free_names_of_entry(&x.expr, bound, out)),
        Expr::Struct(s) => s.entries.iter().for_each(|x| free_names_of_entry(&x.expr, bound, out)),
        Expr::Comprehension(c) => {
            free_names(&c.iter_range, bound, out);
            free_names(&c.accu_init, bound, out);
            let depth = bound.len();
            bound.extend([c.iter_var.clone(), c.accu_var.clone()]);
            bound.extend(c.iter_var2.clone());
            for part in [&c.loop_cond, &c.loop_step, &c.result] {
                free_names(part, bound, out);
            }
            bound.truncate(depth);
        }
    }
}

fn free_names_of_entry(e: &EntryExpr, bound: &mut Vec<String>, out: &mut BTreeSet<String>) {
    match e {
        EntryExpr::StructField(f) => free_names(&f.value, bound, out),
        EntryExpr::MapEntry(m) => {
            free_names(&m.key, bound, out);
            free_names(&m.value, bound, out);
        }
    }
}

/// A JSON value as an expression sees it.
pub(crate) fn json_value(v: serde_json::Value) -> Value {
    use serde_json::Value as J;
    match v {
        J::Null => Value::Null,
        J::Bool(b) => Value::Bool(b),
        J::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(i), _) => Value::Int(i),
            (_, Some(u)) => Value::UInt(u),
            _ => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        },
        J::String(s) => Value::from(s),
        J::Array(items) => Value::from(items.into_iter().map(json_value).collect::<Vec<_>>()),
        J::Object(map) => {
            Value::from(map.into_iter().map(|(k, v)| (k, json_value(v))).collect::<HashMap<_, _>>())
        }
    }
}

/// One value of a column as an expression sees it.
pub(crate) fn arrow_value(array: &ArrayRef, row: usize) -> Result<Value> {
    macro_rules! primitive {
        ($t:ty, $make:expr) => {
            $make(array.as_primitive::<$t>().value(row).into())
        };
    }
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Int8 => primitive!(Int8Type, Value::Int),
        DataType::Int16 => primitive!(Int16Type, Value::Int),
        DataType::Int32 => primitive!(Int32Type, Value::Int),
        DataType::Int64 => primitive!(Int64Type, Value::Int),
        DataType::UInt8 => primitive!(UInt8Type, Value::UInt),
        DataType::UInt16 => primitive!(UInt16Type, Value::UInt),
        DataType::UInt32 => primitive!(UInt32Type, Value::UInt),
        DataType::UInt64 => primitive!(UInt64Type, Value::UInt),
        DataType::Float16 => primitive!(Float16Type, Value::Float),
        DataType::Float32 => primitive!(Float32Type, Value::Float),
        DataType::Float64 => primitive!(Float64Type, Value::Float),
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Value::from(array.as_string::<i64>().value(row)),
        DataType::Utf8View => Value::from(array.as_string_view().value(row)),
        DataType::Binary => Value::from(array.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Value::from(array.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Value::from(array.as_binary_view().value(row).to_vec()),
        DataType::List(_) => arrow_list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => arrow_list(&array.as_list::<i64>().value(row))?,
        DataType::FixedSizeList(_, _) => arrow_list(&array.as_fixed_size_list().value(row))?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let pairs = fields.iter().zip(columns).map(|(f, c)| Ok((f.name().clone(), arrow_value(c, row)?)));
            Value::from(pairs.collect::<Result<HashMap<_, _>>>()?)
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys()[row];
            arrow_value(dictionary.values(), key)?
        }
        _ => {
            let options = FormatOptions::default();
            let f = ArrayFormatter::try_new(array.as_ref(), &options).map_err(fault::arrow)?;
            let text = f.value(row).try_to_string().map_err(fault::arrow)?;
            match array.data_type() {
                DataType::Decimal32(..)
                | DataType::Decimal64(..)
                | DataType::Decimal128(..)
                | DataType::Decimal256(..) => Value::Float(text.parse().unwrap_or(f64::NAN)),
                _ => Value::from(text),
            }
        }
    })
}

fn arrow_list(items: &ArrayRef) -> Result<Value> {
    Ok(Value::from((0..items.len()).map(|i| arrow_value(items, i)).collect::<Result<Vec<_>>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(text: &str, values: &[(&str, Value)]) -> Result<bool> {
        let mut e = Filter::parse(text)?.evaluator();
        values.iter().for_each(|(k, v)| e.set(k, v.clone()));
        e.keeps()
    }

    #[test]
    fn knows_the_columns_that_it_needs() {
        let columns = |t| Filter::parse(t).unwrap().columns().to_vec();
        assert_eq!(columns("lang == \"en\" && score > 0.5"), ["lang", "score"]);
        assert_eq!(columns("tags.exists(t, t == kind) || size(text) > 3"), ["kind", "tags", "text"]);
        assert_eq!(columns("has(metadata.source)"), ["metadata"]);
        assert_eq!(columns("{'a': x}[y] == [z][0]"), ["x", "y", "z"]);
    }

    #[test]
    fn keeps_what_is_true() {
        let row = [("lang", Value::from("en")), ("score", Value::Float(0.75)), ("n", Value::UInt(3))];
        assert!(eval("lang == 'en' && score > 0.5", &row).unwrap());
        assert!(!eval("lang == 'en' && score > 1", &row).unwrap());
        assert!(eval("n < 4 && n >= 2.5", &row).unwrap());
        assert!(eval("lang.startsWith('e') && lang in ['de', 'en']", &row).unwrap());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(Filter::parse("lang ==").unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(eval("1 + 1", &[]).unwrap_err().code(), Code::WrongType);
        assert_eq!(eval("nosuch(1)", &[]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(eval("x > 0.5", &[("x", Value::Null)]).unwrap_err().code(), Code::InvalidValue);
        assert!(!eval("x != null && x > 0.5", &[("x", Value::Null)]).unwrap());
    }
}
