//! One JSON object a line.
//!
//! A line is split off, checked to be UTF-8 and walked once: the values of the columns with a role go
//! straight into the batch, the rest is only checked to be JSON. Blank lines are passed over (and
//! counted as rows, so that a row is always a line number).

use std::fmt;
use std::sync::Arc;

use gristmill_core::{Code, Error, Result};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::batch::{DocBatch, JsonLines, RowColumns, Texts};
use crate::column::{self, Kind, Roles};
use crate::filter::{Evaluator, json_value};
use crate::json;
use crate::quarantine::Raw;
use crate::reader::{Out, Task};
use crate::stream::{Line, Lines, decompressed};

/// A column exists when one of this many first lines (or of the first few megabytes) has it.
const SAMPLE_LINES: usize = 1024;
const SAMPLE_BYTES: usize = 4 << 20;

pub(crate) fn read(out: &mut Out) -> Result<()> {
    let stream = super::open_stream(out)?;
    let roles = find_roles(&out.task)?;
    let mut lines = Lines::new(stream, out.task.shard.compression, out.task.source.max_document_bytes);
    let mut rows = out.task.options.rows.clone().map(|r| r.into_iter().peekable());
    let mut builder = Builder::new(&out.task, roles);
    loop {
        let row = lines.next_row();
        let wanted = match &mut rows {
            None => true,
            Some(rows) => match rows.peek() {
                None => break,
                Some(next) => *next == row && rows.next().is_some(),
            },
        };
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => {
                missing_rows(
                    wanted.then_some(row).filter(|_| rows.is_some()),
                    rows.and_then(|mut r| r.next()),
                )?;
                break;
            }
            Err(e) => {
                // What came before the damage is delivered before it is reported.
                builder.flush(out)?;
                return Err(e);
            }
        };
        if !wanted {
            continue;
        }
        match line {
            Line::TooLong(n) => {
                let limit = out.task.source.max_document_bytes;
                let e =
                    Error::new(Code::InvalidValue, format!("a line of {n} bytes, over the limit of {limit}"));
                out.bad_row(e, row, Raw::Absent)?;
            }
            Line::Whole(line) => match builder.add(line, row) {
                Ok(Added::Kept) if builder.is_full() => builder.flush(out)?,
                Ok(Added::Kept | Added::Blank) => {}
                Ok(Added::Filtered) => {
                    out.stats.read += 1;
                    out.stats.filtered += 1;
                }
                Err(e) => out.bad_row(e, row, Raw::of(line))?,
            },
        }
        if row % 1024 == 0 {
            out.check()?;
        }
    }
    builder.flush(out)
}

/// Rows that were asked for and are not there mean another file than the one that they were chosen from.
pub(crate) fn missing_rows(pending: Option<u64>, next: Option<u64>) -> Result<()> {
    match pending.or(next) {
        None => Ok(()),
        Some(row) => Err(Error::new(Code::InvalidArgument, "the file ends before this row").at_row(row)),
    }
}

/// Looks at the first lines for the columns that are there.
fn find_roles(task: &Task) -> Result<Roles> {
    let input = crate::place::Input::open(&task.shard.place)?;
    let compression = task.shard.compression;
    let stream = decompressed(Box::new(input.reader(0)), compression)?;
    let mut lines = Lines::new(stream, compression, task.source.max_document_bytes);
    let mut columns: Vec<(String, Kind)> = Vec::new();
    let (mut seen, mut bytes) = (0, 0);
    // Damage is met again, and reported with its place, when the file is read for good.
    while let Ok(Some(line)) = lines.next() {
        let Line::Whole(line) = line else { continue };
        let Some(members) = std::str::from_utf8(line).ok().and_then(|l| json::members(l).ok()) else {
            continue;
        };
        for (key, value) in members {
            let kind = match value.get().as_bytes()[0] {
                b'"' => Kind::Text,
                b'0'..=b'9' | b'-' if !value.get().contains(['.', 'e', 'E']) => Kind::Integer,
                _ => Kind::Other,
            };
            match columns.iter_mut().find(|(n, _)| *n == key) {
                // A null says nothing about a type; a text in one line makes a text column.
                Some(known) if kind == Kind::Text || known.1 == Kind::Other => known.1 = kind,
                Some(_) => {}
                None => columns.push((key.into_owned(), kind)),
            }
        }
        seen += 1;
        bytes += line.len();
        if seen >= SAMPLE_LINES || bytes >= SAMPLE_BYTES {
            break;
        }
    }
    if seen == 0 {
        // Nothing to choose from: an empty file, or one in which every line is bad.
        let or = |name: &Option<String>, usual: &str| name.clone().unwrap_or_else(|| usual.into());
        let text = or(&task.source.text, column::TEXT_NAMES[0]);
        return Ok(Roles { text, id: task.source.id.clone(), group: task.source.group.clone() });
    }
    column::choose(&task.source, task.filter.as_ref(), &columns)
}

enum Added {
    Kept,
    Filtered,
    Blank,
}

const TEXT: u8 = 1;
const ID: u8 = 2;
const GROUP: u8 = 4;
const FILTER: u8 = 8;

/// A batch under construction.
struct Builder {
    shard: usize,
    name: String,
    wanted: Vec<(String, u8)>,
    text_name: String,
    rows: Vec<u64>,
    text: Cell,
    id: Cell,
    group: Option<Cell>,
    group_name: String,
    lines: Option<(Texts, KeyBook)>,
    filter: Option<Evaluator>,
    max_rows: usize,
    max_bytes: usize,
}

/// One column under construction, and what the current row has in it.
struct Cell {
    texts: Texts,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Null,
    Set,
    Wrong(&'static str),
}

impl Cell {
    fn new() -> Self {
        Self { texts: Texts::new(), state: State::Null }
    }

    fn reset(&mut self) {
        self.texts.reset();
        self.state = State::Null;
    }

    fn set(&mut self, text: &str) {
        self.texts.reset();
        self.texts.push_part(text);
        self.state = State::Set;
    }

    fn close(&mut self) {
        self.texts.close(self.state == State::Set);
        self.state = State::Null;
    }
}

/// The keys seen so far. Lines of one file mostly have the same keys in the same order, so the next key
/// is first looked for where the last line had it.
#[derive(Default)]
struct KeyBook {
    keys: Vec<String>,
    cursor: usize,
    shared: Option<Arc<[String]>>,
}

impl KeyBook {
    fn note(&mut self, key: &str) {
        if self.keys.get(self.cursor).is_some_and(|k| k == key) {
            self.cursor += 1;
            return;
        }
        match self.keys.iter().position(|k| k == key) {
            Some(i) => self.cursor = i + 1,
            None => {
                self.keys.push(key.to_string());
                self.cursor = self.keys.len();
                self.shared = None;
            }
        }
    }

    fn share(&mut self) -> Arc<[String]> {
        self.shared.get_or_insert_with(|| self.keys.as_slice().into()).clone()
    }
}

impl Builder {
    fn new(task: &Task, roles: Roles) -> Self {
        let mut wanted: Vec<(String, u8)> = Vec::new();
        let mut want = |name: &str, role: u8| match wanted.iter_mut().find(|(n, _)| n == name) {
            Some((_, roles)) => *roles |= role,
            None => wanted.push((name.to_string(), role)),
        };
        want(&roles.text, TEXT);
        roles.id.iter().for_each(|n| want(n, ID));
        roles.group.iter().for_each(|n| want(n, GROUP));
        task.filter.iter().flat_map(|f| f.columns()).for_each(|n| want(n, FILTER));
        Self {
            shard: task.shard.index,
            name: task.shard.name.clone(),
            wanted,
            text_name: roles.text,
            rows: Vec::new(),
            text: Cell::new(),
            id: Cell::new(),
            group: roles.group.is_some().then(Cell::new),
            group_name: roles.group.unwrap_or_default(),
            lines: task.all_columns().then(|| (Texts::new(), KeyBook::default())),
            filter: task.filter.as_ref().map(|f| f.evaluator()),
            max_rows: task.source.batch_rows,
            max_bytes: task.source.batch_bytes,
        }
    }

    fn is_full(&self) -> bool {
        let lines = self.lines.as_ref().map_or(0, |(l, _)| l.bytes());
        self.rows.len() >= self.max_rows || self.text.texts.bytes().max(lines) >= self.max_bytes
    }

    fn add(&mut self, line: &[u8], row: u64) -> Result<Added> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Added::Blank);
        }
        let added = self.parse(line, row);
        if !matches!(added, Ok(Added::Kept)) {
            self.text.reset();
            self.id.reset();
            self.group.iter_mut().for_each(Cell::reset);
        }
        added
    }

    fn parse(&mut self, line: &[u8], row: u64) -> Result<Added> {
        let line = std::str::from_utf8(line).map_err(|e| {
            Error::new(Code::InvalidUtf8, format!("the line is not UTF-8 at byte {} of it", e.valid_up_to()))
        })?;
        let mut seen = 0u64;
        let mut de = serde_json::Deserializer::from_str(line);
        let visitor = Row { b: self, seen: &mut seen };
        serde::Deserializer::deserialize_map(&mut de, visitor)
            .and_then(|()| de.end())
            .map_err(|e| json::bad_line(e, line.as_bytes()))?;
        self.check_types()?;
        if let Some(filter) = &mut self.filter {
            for (i, (name, roles)) in self.wanted.iter().enumerate() {
                if roles & FILTER != 0 && seen & (1 << i) == 0 {
                    filter.set(name, cel::Value::Null);
                }
            }
            if !filter.keeps()? {
                return Ok(Added::Filtered);
            }
        }
        if self.id.state != State::Set {
            let made = format!("{}:{row}", self.name);
            self.id.set(&made);
        }
        self.rows.push(row);
        self.text.close();
        self.id.close();
        self.group.iter_mut().for_each(Cell::close);
        if let Some((lines, _)) = &mut self.lines {
            lines.push(Some(line));
        }
        Ok(Added::Kept)
    }

    fn check_types(&self) -> Result<()> {
        if let State::Wrong(found) = self.text.state {
            return Err(column::wrong_type(&self.text_name, "text", found));
        }
        let id_name = self.wanted.iter().find(|(_, r)| r & ID != 0).map_or("id", |(n, _)| n.as_str());
        if let State::Wrong(found) = self.id.state {
            return Err(column::wrong_type(id_name, "text or a whole number", found));
        }
        if let Some(State::Wrong(found)) = self.group.as_ref().map(|g| g.state) {
            return Err(column::wrong_type(&self.group_name, "text or a whole number", found));
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Out) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let columns = self
            .lines
            .as_mut()
            .map(|(lines, book)| RowColumns::Json(JsonLines { lines: lines.finish(), keys: book.share() }));
        out.deliver(DocBatch {
            shard: self.shard,
            rows: std::mem::take(&mut self.rows),
            ids: self.id.texts.finish(),
            text: self.text.texts.finish(),
            group: self.group.as_mut().map(|g| g.texts.finish()),
            columns,
            quarantined: Vec::new(),
        })
    }
}

/// Walks the members of one line.
struct Row<'a> {
    b: &'a mut Builder,
    seen: &'a mut u64,
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if let Some((_, book)) = &mut self.b.lines {
            book.cursor = 0;
        }
        loop {
            let book = self.b.lines.as_mut().map(|(_, book)| book);
            let Some(found) = map.next_key_seed(Key { wanted: &self.b.wanted, book })? else { return Ok(()) };
            let Some(i) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            *self.seen |= 1 << i;
            let roles = self.b.wanted[i].1;
            match roles {
                TEXT => map.next_value_seed(Scalar { cell: &mut self.b.text, numbers: false })?,
                ID => map.next_value_seed(Scalar { cell: &mut self.b.id, numbers: true })?,
                _ => {
                    let value: serde_json::Value = map.next_value()?;
                    self.b.several_roles(i, roles, value);
                }
            }
        }
    }
}

impl Builder {
    /// A value that more than one role, or the filter, needs.
    fn several_roles(&mut self, i: usize, roles: u8, value: serde_json::Value) {
        use serde_json::Value as J;
        let fill = |cell: &mut Cell, numbers: bool| {
            cell.reset();
            match &value {
                J::Null => {}
                J::String(s) => cell.set(s),
                J::Number(n) if numbers && (n.is_i64() || n.is_u64()) => cell.set(&n.to_string()),
                J::Bool(b) if numbers => cell.set(if *b { "true" } else { "false" }),
                J::Bool(_) => cell.state = State::Wrong("a boolean"),
                J::Number(_) => cell.state = State::Wrong("a number"),
                J::Array(_) => cell.state = State::Wrong("an array"),
                J::Object(_) => cell.state = State::Wrong("an object"),
            }
        };
        if roles & TEXT != 0 {
            fill(&mut self.text, false);
        }
        if roles & ID != 0 {
            fill(&mut self.id, true);
        }
        if let (true, Some(group)) = (roles & GROUP != 0, &mut self.group) {
            fill(group, true);
        }
        if let (true, Some(filter)) = (roles & FILTER != 0, &mut self.filter) {
            filter.set(&self.wanted[i].0, json_value(value));
        }
    }
}

/// Finds the wanted column that a key names.
struct Key<'a> {
    wanted: &'a [(String, u8)],
    book: Option<&'a mut KeyBook>,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        if let Some(book) = self.book {
            book.note(key);
        }
        Ok(self.wanted.iter().position(|(name, _)| name == key))
    }
}

/// Reads a value into a cell; one of the wrong type is noted, not refused, so that the error can name
/// the column.
struct Scalar<'a> {
    cell: &'a mut Cell,
    numbers: bool,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        // The last of several members of one name wins, as in every JSON reader.
        self.cell.reset();
        d.deserialize_any(self)
    }
}

impl Scalar<'_> {
    fn number(self, n: impl fmt::Display) {
        match self.numbers {
            true => self.cell.set(&n.to_string()),
            false => self.cell.state = State::Wrong("a number"),
        }
    }
}

impl<'de> Visitor<'de> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, s: &str) -> Result<(), E> {
        self.cell.texts.push_part(s);
        self.cell.state = State::Set;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, n: u64) -> Result<(), E> {
        self.number(n);
        Ok(())
    }

    fn visit_i64<E>(self, n: i64) -> Result<(), E> {
        self.number(n);
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.cell.state = State::Wrong("a number with a fraction");
        Ok(())
    }

    fn visit_bool<E>(self, b: bool) -> Result<(), E> {
        match self.numbers {
            true => self.cell.set(if b { "true" } else { "false" }),
            false => self.cell.state = State::Wrong("a boolean"),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.cell.state = State::Wrong("an array");
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.cell.state = State::Wrong("an object");
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
