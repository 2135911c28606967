use std::collections::HashMap;
use std::path::Path;

use gristmill_core::{Code, Error, Result, ResultExt};

use crate::Matrix;

/// How far the weights of one mixture may sum away from one. Published mixtures are rounded: RegMix's sum to
/// 0.998 to 1.001.
pub const SUM_TOLERANCE: f64 = 0.005;

/// Training runs that differ in their mixture: what share each domain had, and the losses that came out.
///
/// Row `i` of [`weights`](Self::weights) and of [`losses`](Self::losses) is one run. The losses may come from
/// any trainer and be of any unit in which lower is better, all of one target in the same unit.
///
/// ```
/// use gristmill_mix::{Matrix, Runs};
///
/// let runs = Runs::new(
///     vec!["web".into(), "code".into()],
///     Matrix::from_rows(&[[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]),
///     vec!["val/code".into()],
///     Matrix::from_rows(&[[2.1], [1.4], [1.6]]),
/// )?;
/// assert_eq!(runs.target("code")?, 0);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Runs {
    domains: Vec<String>,
    weights: Matrix,
    targets: Vec<String>,
    losses: Matrix,
}

impl Runs {
    /// Runs from their parts. Refuses weights that are negative or NaN or do not sum to one (within
    /// [`SUM_TOLERANCE`]), losses that are missing (NaN), infinite or negative, and names given twice.
    pub fn new(domains: Vec<String>, weights: Matrix, targets: Vec<String>, losses: Matrix) -> Result<Self> {
        if weights.rows() != losses.rows() {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{} mixtures and {} rows of losses", weights.rows(), losses.rows()),
            ));
        }
        for (names, columns, kind) in
            [(&domains, weights.columns(), "domain"), (&targets, losses.columns(), "target")]
        {
            check_names(names, columns, kind)?;
        }
        if weights.rows() == 0 {
            return Err(Error::new(Code::EmptyInput, "no runs"));
        }
        for (i, row) in weights.iter_rows().enumerate() {
            check_mixture(row, &domains).at_row(i as u64)?;
        }
        for (i, row) in losses.iter_rows().enumerate() {
            for (name, &loss) in targets.iter().zip(row) {
                if !(loss.is_finite() && loss >= 0.0) {
                    return Err(Error::new(Code::InvalidValue, format!("a loss of {loss}"))
                        .at_row(i as u64)
                        .at_column(name)
                        .hint("a loss is a finite number of at least 0; leave out runs that failed"));
                }
            }
        }
        Ok(Self { domains, weights, targets, losses })
    }

    /// Reads mixtures and losses from two CSV files with a header.
    ///
    /// When both have a column `index` (or `run`), rows are matched by it and every run must be in both;
    /// otherwise row `i` of one file belongs to row `i` of the other. All other columns are domains in the
    /// first file and targets in the second.
    pub fn read_csv(mixtures: impl AsRef<Path>, losses: impl AsRef<Path>) -> Result<Self> {
        let (mixtures, losses) = (mixtures.as_ref(), losses.as_ref());
        let weights = Table::read(mixtures)?;
        let mut measured = Table::read(losses)?;
        if let (Some(ours), Some(theirs)) = (&weights.keys, &measured.keys) {
            let place: HashMap<&str, usize> =
                theirs.iter().enumerate().map(|(i, key)| (key.as_str(), i)).collect();
            let found: Vec<usize> = ours
                .iter()
                .map(|key| place.get(key.as_str()).copied().ok_or_else(|| missing(key, losses)))
                .collect::<Result<_>>()?;
            if ours.len() < theirs.len() {
                let ours: std::collections::HashSet<_> = ours.iter().collect();
                let extra = theirs.iter().find(|key| !ours.contains(key));
                return Err(missing(extra.map_or("", |key| key), mixtures));
            }
            measured.values = measured.values.select(&found);
        }
        Self::new(weights.names, weights.values, measured.names, measured.values).at_path(show(mixtures))
    }

    /// Writes mixtures and losses to two CSV files, from which [`read_csv`](Self::read_csv) reads the same runs.
    pub fn write_csv(&self, mixtures: impl AsRef<Path>, losses: impl AsRef<Path>) -> Result<()> {
        write_table(mixtures.as_ref(), &self.domains, &self.weights)?;
        write_table(losses.as_ref(), &self.targets, &self.losses)
    }

    /// The names of the domains, one per column of [`weights`](Self::weights).
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// The share of each domain in each run.
    pub fn weights(&self) -> &Matrix {
        &self.weights
    }

    /// The names of what was measured, one per column of [`losses`](Self::losses).
    pub fn targets(&self) -> &[String] {
        &self.targets
    }

    /// The losses of each run.
    pub fn losses(&self) -> &Matrix {
        &self.losses
    }

    /// How many runs.
    pub fn len(&self) -> usize {
        self.weights.rows()
    }

    /// Whether there is no run; never so for a value of this type.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The column of a target, by its name or by a part of it that no other target has.
    pub fn target(&self, name: &str) -> Result<usize> {
        if let Some(exact) = self.targets.iter().position(|t| t == name) {
            return Ok(exact);
        }
        let mut partial = (0..self.targets.len()).filter(|&j| self.targets[j].contains(name));
        match (partial.next(), partial.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(Error::new(Code::MissingColumn, format!("no target {name:?}"))
                .hint(format!("targets: {}", self.targets.join(", ")))),
            _ => Err(Error::new(Code::MissingColumn, format!("{name:?} is a part of several targets"))
                .hint(format!("targets: {}", self.targets.join(", ")))),
        }
    }
}

/// Writes a column `index` and the columns of `values` to a CSV file. Numbers come back as they were.
pub fn write_table(path: &Path, names: &[String], values: &Matrix) -> Result<()> {
    let shown = show(path);
    let file = std::fs::File::create(path).map_err(|e| Error::io(&shown, "create", e))?;
    table(std::io::BufWriter::new(file), names, values).at_path(shown)
}

/// The text that [`write_table`] writes.
pub fn table_text(names: &[String], values: &Matrix) -> Result<String> {
    let mut text = Vec::new();
    table(&mut text, names, values)?;
    String::from_utf8(text).map_err(|_| Error::new(Code::Internal, "a table that is no text"))
}

fn table(to: impl std::io::Write, names: &[String], values: &Matrix) -> Result<()> {
    let failed = |e: csv::Error| Error::new(Code::Io, format!("cannot write: {e}")).with_source(e);
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(std::iter::once("index").chain(names.iter().map(String::as_str))).map_err(failed)?;
    for (i, row) in values.iter_rows().enumerate() {
        let cells = row.iter().map(f64::to_string);
        writer.write_record(std::iter::once(i.to_string()).chain(cells)).map_err(failed)?;
    }
    writer.flush().map_err(|e| Error::io("", "write", e))
}

fn missing(key: &str, file: &Path) -> Error {
    Error::new(Code::InvalidValue, format!("run {key:?} is in the other file only"))
        .at_path(show(file))
        .hint("every run needs a mixture and its losses")
}

fn show(path: &Path) -> String {
    path.display().to_string()
}

pub(crate) fn check_names(names: &[String], columns: usize, kind: &str) -> Result<()> {
    if names.len() != columns || columns == 0 {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{} {kind} names for {columns} columns", names.len()),
        ));
    }
    let mut seen = std::collections::HashSet::new();
    match names.iter().find(|name| !seen.insert(*name)) {
        Some(twice) => Err(Error::invalid_argument(twice, format!("{kind} named twice"))),
        None => Ok(()),
    }
}

/// Refuses weights that are negative or not finite, or that do not sum to one.
pub(crate) fn check_mixture(weights: &[f64], domains: &[String]) -> Result<()> {
    check_shares(weights, domains)?;
    let sum: f64 = weights.iter().sum();
    if (sum - 1.0).abs() > SUM_TOLERANCE {
        return Err(Error::new(Code::InvalidValue, format!("the weights sum to {sum}, not to 1"))
            .hint("divide each weight by their sum, or look for a missing domain"));
    }
    Ok(())
}

/// Refuses shares that are negative or not finite, or all zero; they need not sum to one.
pub(crate) fn check_shares(shares: &[f64], names: &[String]) -> Result<()> {
    for (j, &share) in shares.iter().enumerate() {
        if !(share.is_finite() && share >= 0.0) {
            let e = Error::new(Code::InvalidValue, format!("a weight of {share}"));
            return Err(e.at_column(names.get(j).cloned().unwrap_or_else(|| format!("domain {j}"))));
        }
    }
    if shares.iter().all(|&share| share == 0.0) {
        return Err(Error::new(Code::EmptyInput, "no domain has a positive weight"));
    }
    Ok(())
}

pub(crate) struct Table {
    keys: Option<Vec<String>>,
    names: Vec<String>,
    values: Matrix,
}

impl Table {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &|_| true).at_path(show(path))
    }

    /// The columns of these names in this order, whatever their case in the file.
    pub(crate) fn read_columns(path: &Path, names: &[&str]) -> Result<Matrix> {
        let named = |name: &str| names.iter().any(|n| n.eq_ignore_ascii_case(name));
        let table = Self::parse(path, &named).at_path(show(path))?;
        let find = |name: &&str| {
            let exact = table.names.iter().position(|n| n == name);
            exact.or_else(|| table.names.iter().position(|n| n.eq_ignore_ascii_case(name))).ok_or_else(|| {
                let hint = format!("it takes the columns {}", names.join(", "));
                Error::new(Code::MissingColumn, format!("no column {name:?}")).at_path(show(path)).hint(hint)
            })
        };
        let order = names.iter().map(find).collect::<Result<Vec<_>>>()?;
        let data = table.values.iter_rows().flat_map(|row| order.iter().map(|&j| row[j])).collect();
        Matrix::new(table.values.rows(), names.len(), data)
    }

    fn parse(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| Error::io(show(path), "open", e))?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
        let header = reader.headers().map_err(damaged)?.clone();
        let key = header.iter().position(|name| matches!(name, "index" | "run"));
        let columns: Vec<usize> =
            (0..header.len()).filter(|&j| Some(j) != key && wanted(&header[j])).collect();
        let (mut keys, mut data) = (Vec::new(), Vec::new());
        for (i, record) in reader.records().enumerate() {
            let record = record.map_err(damaged)?;
            keys.extend(key.map(|j| record[j].to_owned()));
            for &j in &columns {
                data.push(record[j].parse::<f64>().map_err(|_| {
                    let what = if record[j].is_empty() {
                        "a missing value".into()
                    } else {
                        format!("{:?}, not a number", &record[j])
                    };
                    Error::new(Code::InvalidValue, what).at_row(i as u64).at_column(&header[j])
                })?);
            }
        }
        let mut seen = std::collections::HashSet::new();
        if let Some(i) = keys.iter().position(|key| !seen.insert(key)) {
            let e = Error::new(Code::DuplicateId, format!("run {:?} is there twice", keys[i]));
            return Err(e.at_row(i as u64));
        }
        if columns.is_empty() || data.is_empty() {
            return Err(Error::new(Code::EmptyInput, "no values in the columns that are looked for"));
        }
        Ok(Self {
            names: columns.iter().map(|&j| header[j].to_owned()).collect(),
            values: Matrix::new(data.len() / columns.len(), columns.len(), data)?,
            keys: key.map(|_| keys),
        })
    }
}

fn damaged(e: csv::Error) -> Error {
    let row = e.position().map(|p| p.record().saturating_sub(1));
    let error = Error::new(Code::CorruptData, e.to_string()).with_source(e);
    row.map_or_else(|| Error::new(Code::CorruptData, "unreadable"), |row| error.at_row(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(prefix: &str, n: usize) -> Vec<String> {
        (0..n).map(|i| format!("{prefix}{i}")).collect()
    }

    fn build(weights: &[[f64; 2]], losses: &[[f64; 1]]) -> Result<Runs> {
        Runs::new(names("d", 2), Matrix::from_rows(weights), names("t", 1), Matrix::from_rows(losses))
    }

    #[test]
    fn bad_runs_are_named_by_row_and_column() {
        let e = build(&[[0.5, 0.5], [0.5, 0.6]], &[[1.0], [1.0]]).unwrap_err();
        assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(1)));
        let e = build(&[[0.5, 0.5], [1.5, -0.5]], &[[1.0], [1.0]]).unwrap_err();
        assert_eq!((e.location().row, e.location().column.as_deref()), (Some(1), Some("d1")));
        for loss in [f64::NAN, f64::INFINITY, -1.0] {
            let e = build(&[[0.5, 0.5], [1.0, 0.0]], &[[1.0], [loss]]).unwrap_err();
            assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some("t0")));
        }
        assert_eq!(build(&[[0.5, 0.5]], &[[1.0], [1.0]]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(build(&[], &[]).unwrap_err().code(), Code::EmptyInput);
        assert!(build(&[[0.499, 0.499]], &[[1.0]]).is_ok(), "rounded weights pass");
    }

    #[test]
    fn targets_are_found_by_a_unique_part() {
        let runs = Runs::new(
            names("d", 1),
            Matrix::from_rows(&[[1.0]]),
            vec!["metric/pile_cc_val".into(), "metric/github_val".into(), "github".into()],
            Matrix::from_rows(&[[1.0, 2.0, 3.0]]),
        )
        .unwrap();
        assert_eq!(runs.target("pile_cc").unwrap(), 0);
        assert_eq!(runs.target("github").unwrap(), 2, "an exact name wins");
        assert_eq!(runs.target("metric").unwrap_err().code(), Code::MissingColumn);
        assert_eq!(runs.target("arxiv").unwrap_err().code(), Code::MissingColumn);
    }

    #[test]
    fn csv_rows_are_matched_by_their_index() {
        let dir = std::env::temp_dir().join(format!("gristmill-mix-runs-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            dir.join(name)
        };
        let m = write("m.csv", "index,a,b\n1,0.25,0.75\n2,1,0\n");
        let l = write("l.csv", "loss, index\n3.5, 2\n1.5, 1\n");
        let runs = Runs::read_csv(&m, &l).unwrap();
        assert_eq!(runs.losses().column(0), [1.5, 3.5]);
        assert_eq!(runs.domains(), ["a", "b"]);

        let cases = [
            ("loss,index\n3.5,2\n1.5,3\n", Code::InvalidValue, None),
            ("loss,index\n3.5,2\n1.5,1\n1,9\n", Code::InvalidValue, None),
            ("loss,index\n3.5,2\n1.5,2\n", Code::DuplicateId, Some(1)),
            ("loss,index\n3.5,2\n,1\n", Code::InvalidValue, Some(1)),
            ("loss,index\n3.5,2\nx,1\n", Code::InvalidValue, Some(1)),
            ("loss,index\n3.5,2\n1\n", Code::CorruptData, Some(1)),
            ("loss,index\n", Code::EmptyInput, None),
        ];
        for (text, code, row) in cases {
            let e = Runs::read_csv(&m, write("bad.csv", text)).unwrap_err();
            assert_eq!((e.code(), e.location().row), (code, row), "{text:?}: {e}");
            assert!(e.location().path.is_some());
        }
        assert_eq!(Runs::read_csv(dir.join("none.csv"), &l).unwrap_err().code(), Code::NotFound);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
