//! Which column is the text, the id and the group, and their values as strings.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_cast::cast::cast;
use arrow_schema::{DataType, Schema};
use gristmill_core::{Code, Error, Result};

use crate::fault;
use crate::filter::{Filter, join_names};
use crate::source::Source;

/// Names that a text column usually has, the likeliest first. Case does not count.
pub const TEXT_NAMES: &[&str] = &[
    "text",
    "content",
    "contents",
    "body",
    "raw_content",
    "raw_text",
    "document",
    "article",
    "passage",
    "page_content",
];

/// Names that an id column usually has. `url` is not among them: crawls meet one URL several times.
pub const ID_NAMES: &[&str] =
    &["id", "_id", "doc_id", "docid", "document_id", "uuid", "guid", "warc_record_id"];

/// The names of the columns that have a role. Filter columns are in [`Filter::columns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) text: String,
    pub(crate) id: Option<String>,
    pub(crate) group: Option<String>,
}

/// A column as far as the choice of roles needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Other,
}

pub(crate) fn kind(t: &DataType) -> Kind {
    match t {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Dictionary(_, v) => kind(v),
        t if t.is_integer() => Kind::Integer,
        _ => Kind::Other,
    }
}

/// Chooses the roles among these columns, or says which is missing.
pub(crate) fn choose(source: &Source, filter: Option<&Filter>, columns: &[(String, Kind)]) -> Result<Roles> {
    let names: Vec<&str> = columns.iter().map(|(n, _)| n.as_str()).collect();
    let named = |role: &str, name: &String| match columns.iter().find(|(n, _)| n == name) {
        Some(_) => Ok(name.clone()),
        None => Err(Error::new(Code::MissingColumn, format!("no column of this name for the {role}"))
            .at_column(name)
            .hint(format!("there are: {}", join_names(&names)))),
    };
    let id = match &source.id {
        Some(name) => Some(named("id", name)?),
        None => usual(ID_NAMES, columns, |k| k != Kind::Other),
    };
    let group = source.group.as_ref().map(|name| named("group", name)).transpose()?;
    let text = match &source.text {
        Some(name) => named("text", name)?,
        None => detect_text(columns, &id, &group).ok_or_else(|| {
            Error::new(Code::MissingColumn, "cannot tell which column holds the text")
                .hint(format!("name it with --text; there are: {}", join_names(&names)))
        })?,
    };
    if let Some(filter) = filter {
        let missing = filter.columns().iter().find(|c| filter.requires(c) && !names.contains(&c.as_str()));
        if let Some(missing) = missing {
            return Err(filter.missing(missing, &names));
        }
    }
    Ok(Roles { text, id, group })
}

fn usual(usual: &[&str], columns: &[(String, Kind)], fits: impl Fn(Kind) -> bool) -> Option<String> {
    usual.iter().find_map(|u| {
        let found = columns.iter().find(|(n, k)| n.eq_ignore_ascii_case(u) && fits(*k));
        found.map(|(n, _)| n.clone())
    })
}

fn detect_text(columns: &[(String, Kind)], id: &Option<String>, group: &Option<String>) -> Option<String> {
    if let Some(name) = usual(TEXT_NAMES, columns, |k| k == Kind::Text) {
        return Some(name);
    }
    let has_role = |n: &String| Some(n) == id.as_ref() || Some(n) == group.as_ref();
    let mut strings = columns.iter().filter(|(n, k)| *k == Kind::Text && !has_role(n));
    let only = strings.next()?;
    strings.next().is_none().then(|| only.0.clone())
}

/// The roles in a table of this schema, with their types checked.
pub(crate) fn choose_in(source: &Source, filter: Option<&Filter>, schema: &Schema) -> Result<Roles> {
    let columns: Vec<_> = schema.fields().iter().map(|f| (f.name().clone(), kind(f.data_type()))).collect();
    let roles = choose(source, filter, &columns)?;
    let typed = |name: &String, integers: bool| {
        let field = schema.field_with_name(name).map_err(fault::arrow)?;
        let fits = match kind(field.data_type()) {
            Kind::Text => true,
            Kind::Integer => integers,
            Kind::Other => integers && *field.data_type() == DataType::Boolean,
        };
        let expected = if integers { "text or whole numbers" } else { "text" };
        match fits {
            true => Ok(()),
            false => Err(wrong_type(name, expected, &field.data_type().to_string())),
        }
    };
    typed(&roles.text, false)?;
    roles.id.iter().chain(&roles.group).try_for_each(|name| typed(name, true))?;
    Ok(roles)
}

pub(crate) fn wrong_type(column: &str, expected: &str, found: &str) -> Error {
    Error::new(Code::WrongType, format!("expected {expected}, found {found}")).at_column(column)
}

/// Any string column (or one of whole numbers or booleans, rendered) with 32-bit offsets.
pub(crate) fn to_strings(array: &ArrayRef) -> Result<StringArray> {
    if let Some(strings) = array.as_string_opt::<i32>() {
        return Ok(strings.clone());
    }
    let cast = cast(array, &DataType::Utf8).map_err(fault::arrow)?;
    Ok(cast.as_string::<i32>().clone())
}

/// Ids with those that are null (or all, where there is no column) made of shard and row.
pub(crate) fn fill_ids(ids: Option<StringArray>, rows: &[u64], made: impl Fn(u64) -> String) -> StringArray {
    match ids {
        Some(ids) if ids.null_count() == 0 => ids,
        Some(ids) => {
            let filled = ids.iter().zip(rows).map(|(id, row)| id.map_or_else(|| made(*row), str::to_string));
            StringArray::from_iter_values(filled)
        }
        None => StringArray::from_iter_values(rows.iter().map(|row| made(*row))),
    }
}

/// How many of the first rows fit into a batch of this size; at least one.
pub(crate) fn rows_that_fit(text: &ArrayRef, max_bytes: usize) -> usize {
    let (mut n, mut bytes) = (0, 0);
    while n < text.len() && (n == 0 || bytes < max_bytes) {
        bytes += match text.data_type() {
            DataType::Utf8 => text.as_string::<i32>().value_length(n) as usize,
            DataType::LargeUtf8 => text.as_string::<i64>().value_length(n) as usize,
            // The length is the low half of a view.
            DataType::Utf8View => text.as_string_view().views()[n] as u32 as usize,
            _ => 0,
        };
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(columns: &[(&str, Kind)]) -> Result<(String, Option<String>)> {
        let columns: Vec<_> = columns.iter().map(|(n, k)| (n.to_string(), *k)).collect();
        choose(&Source::new(["x"]), None, &columns).map(|r| (r.text, r.id))
    }

    #[test]
    fn detects_text_and_id() {
        use Kind::*;
        let some = |t: &str, i: Option<&str>| (t.to_string(), i.map(str::to_string));
        assert_eq!(
            pick(&[("url", Text), ("Text", Text), ("id", Integer)]).unwrap(),
            some("Text", Some("id"))
        );
        assert_eq!(pick(&[("body", Text), ("content", Text)]).unwrap(), some("content", None));
        assert_eq!(
            pick(&[("story", Text), ("_id", Text), ("n", Integer)]).unwrap(),
            some("story", Some("_id"))
        );
        assert_eq!(pick(&[("text", Other), ("raw", Text)]).unwrap(), some("raw", None));
        let e = pick(&[("title", Text), ("story", Text)]).unwrap_err();
        assert_eq!(e.code(), Code::MissingColumn);
        assert!(e.to_string().contains("title, story"), "{e}");
    }
}
