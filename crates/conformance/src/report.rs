use std::fmt;

use gristmill_core::DeviceInfo;

use crate::Bound;

/// What became of a case.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome", content = "why")]
pub enum Outcome {
    /// It held.
    Passed,
    /// It did not, for this reason.
    Failed(String),
    /// The device does not do it, for this reason.
    Skipped(String),
}

/// A case and what became of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Row {
    /// Its name.
    pub case: String,
    /// The operation.
    pub op: &'static str,
    /// How close it had to be.
    pub bound: Bound,
    /// The greatest error that was seen, in the measure of the bound; 0 where everything was exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<f64>,
    /// Whether it held.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error =
            self.error.map_or(String::new(), |e| if e == 0.0 { "0".into() } else { format!("{e:.1e}") });
        let (verdict, why) = match &self.outcome {
            Outcome::Passed => ("ok", ""),
            Outcome::Failed(why) => ("FAILED", why.as_str()),
            Outcome::Skipped(why) => ("skipped", why.as_str()),
        };
        let line = format!("{:<52} {error:>8} {:>8}  {verdict:<7} {why}", self.case, self.bound.to_string());
        f.write_str(line.trim_end())
    }
}

/// What became of all cases.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The device under test.
    pub device: DeviceInfo,
    /// What repeats this run exactly; as text, since JSON numbers lose digits of it.
    #[serde(serialize_with = "as_text")]
    pub seed: u64,
    /// The cases that ran, in the order of the table.
    pub rows: Vec<Row>,
}

fn as_text<S: serde::Serializer>(seed: &u64, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(seed)
}

impl Report {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| matches!(row.outcome, Outcome::Failed(_)))
    }

    /// How many cases passed, failed and were skipped.
    pub fn counts(&self) -> [usize; 3] {
        let count = |which: fn(&Outcome) -> bool| self.rows.iter().filter(|row| which(&row.outcome)).count();
        [
            count(|o| *o == Outcome::Passed),
            count(|o| matches!(o, Outcome::Failed(_))),
            count(|o| matches!(o, Outcome::Skipped(_))),
        ]
    }
}

/// The table, and a line that sums it up.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeviceInfo { selector, name, driver, .. } = &self.device;
        writeln!(f, "{selector}: {name} ({driver}), seed {}", self.seed)?;
        writeln!(f, "{:<52} {:>8} {:>8}", "case", "error", "promise")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        let [passed, failed, skipped] = self.counts();
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}
