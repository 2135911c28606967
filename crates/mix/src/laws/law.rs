use std::path::Path;

use gristmill_core::{Code, Error, Result};

use super::form::LawForm;
use crate::saved;

/// A law with its parameters.
///
/// ```
/// use gristmill_mix::{Law, LawForm};
///
/// // Chinchilla's fit, as published: parameters and tokens in units of one.
/// let law = Law::new(LawForm::Chinchilla, vec![1.69, 406.4, 0.34, 410.7, 0.28])?;
/// assert!((law.predict(&[70e9, 1.4e12])?.loss - 1.94).abs() < 0.01);
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Law {
    form: LawForm,
    parameters: Vec<f64>,
    ranges: Option<Vec<[f64; 2]>>,
}

/// The form in files.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: String,
    form: LawForm,
    parameters: Vec<f64>,
    ranges: Option<Vec<[f64; 2]>>,
}

const FORMAT: &str = "gristmill-law/1";

/// What a law says of one point.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// The predicted loss.
    pub loss: f64,
    /// The variables that lie outside of the range that the law was fitted on, so that the loss is an
    /// extrapolation along them. Empty for a law that was not fitted here.
    pub extrapolated: Vec<String>,
}

impl Law {
    /// A law of known parameters, in the order of [`LawForm::parameters`].
    ///
    /// # Errors
    /// A wrong number of parameters, or one that is negative or not finite.
    pub fn new(form: LawForm, parameters: Vec<f64>) -> Result<Self> {
        let names = form.parameters();
        if parameters.len() != names.len() {
            let message = format!("{} parameters for {}", parameters.len(), names.join(", "));
            return Err(Error::new(Code::InvalidArgument, message));
        }
        match names.iter().zip(&parameters).find(|(_, p)| !p.is_finite() || **p < 0.0) {
            Some((name, value)) => Err(Error::invalid_argument(name, format!("{value} is no value for it"))),
            None => Ok(Self { form, parameters, ranges: None }),
        }
    }

    pub(super) fn fitted_on(mut self, ranges: Vec<[f64; 2]>) -> Self {
        self.ranges = Some(ranges);
        self
    }

    /// The shape.
    pub fn form(&self) -> LawForm {
        self.form
    }

    /// The parameters, in the order of [`LawForm::parameters`].
    pub fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// The parameter of this name.
    pub fn parameter(&self, name: &str) -> Option<f64> {
        self.form.parameters().iter().position(|&p| p == name).map(|i| self.parameters[i])
    }

    /// The least and greatest value of each variable among the points of the fit.
    pub fn ranges(&self) -> Option<&[[f64; 2]]> {
        self.ranges.as_deref()
    }

    /// The loss at these values, in the order of [`LawForm::variables`].
    ///
    /// # Errors
    /// Another number of values, or one out of its domain.
    pub fn predict(&self, at: &[f64]) -> Result<Prediction> {
        self.form.check_row(at)?;
        Ok(Prediction { loss: self.value(at), extrapolated: self.outside(at) })
    }

    /// The loss at values that are known to be in their domain.
    pub(super) fn value(&self, at: &[f64]) -> f64 {
        let (shape, p) = (self.form.shape(), &self.parameters);
        let epsilon = shape.epsilon.map_or(0.0, |i| p[i]);
        let weights = shape.hardness.map_or([0.0; 2], |i| [p[i], p[i + 1]]);
        let term = |(factors, &coefficient): (&&[super::form::Factor], &usize)| {
            factors.iter().fold(p[coefficient], |product, f| {
                product * f.base.value(at, epsilon, weights).powf(f.sign * p[shape.exponents[f.exponent]])
            })
        };
        p[0] + shape.terms.iter().zip(shape.coefficients).map(term).sum::<f64>()
    }

    fn outside(&self, at: &[f64]) -> Vec<String> {
        let ranges = self.ranges.iter().flatten();
        let names = self.form.variables().iter();
        let out = names.zip(at).zip(ranges).filter(|((_, value), [low, high])| {
            // A point on the edge stays inside, whatever rounding did to it.
            let slack = 1e-9 * (high - low).max(high.abs());
            **value < low - slack || **value > high + slack
        });
        out.map(|((name, _), _)| name.to_string()).collect()
    }

    /// Writes the law to a JSON file, from which it comes back bit for bit.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        saved::save(self, path.as_ref())
    }

    /// Reads a law that [`save`](Self::save) wrote.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        saved::load(path.as_ref())
    }
}

impl From<Law> for Saved {
    fn from(law: Law) -> Self {
        Self { format: FORMAT.into(), form: law.form, parameters: law.parameters, ranges: law.ranges }
    }
}

impl TryFrom<Saved> for Law {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let bad = |why: String| Error::new(Code::InvalidModel, why);
        if saved.format != FORMAT {
            return Err(bad(format!("a file of format {:?}, expected {FORMAT:?}", saved.format)));
        }
        let variables = saved.form.variables().len();
        if saved
            .ranges
            .as_ref()
            .is_some_and(|r| r.len() != variables || r.iter().flatten().any(|v| !v.is_finite()))
        {
            return Err(bad("the ranges of a law do not fit its variables".into()));
        }
        let law = Law::new(saved.form, saved.parameters).map_err(|e| bad(e.to_string()))?;
        Ok(Self { ranges: saved.ranges, ..law })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicts_by_its_formula() {
        let p = [0.7, 1.3, 0.4, 0.9, 0.6, 0.3, 0.2, 0.05, 0.8];
        let [e, a, alpha, b, eta, beta, c, epsilon, gamma] = p;
        let law = Law::new(LawForm::Dcpt, p.to_vec()).unwrap();
        for [n, d, r] in [[1.8, 10.0, 0.3], [0.5, 1.0, 0.0], [4.0, 2.5, 1.0]] {
            let expected = e
                + a / f64::powf(n, alpha)
                + b * f64::powf(r, eta) / f64::powf(d, beta)
                + c / f64::powf(r + epsilon, gamma);
            assert!((law.predict(&[n, d, r]).unwrap().loss - expected).abs() < 1e-12);
        }
        let cross = Law::new(LawForm::CrossDomain, [&p[..], &[0.5, 1.5, 0.8, 0.1]].concat()).unwrap();
        let k: f64 = 0.8 / 2.5 + 0.1 * 3.0;
        let extra = cross.predict(&[1.8, 10.0, 0.3, 2.5, 3.0]).unwrap().loss
            - law.predict(&[1.8, 10.0, 0.3]).unwrap().loss;
        assert!((extra - 0.5 / k.powf(1.5)).abs() < 1e-12);
        assert_eq!(law.parameter("gamma"), Some(0.8));
    }

    #[test]
    fn refuses_values_out_of_their_domain() {
        let law = Law::new(LawForm::Dcpt, vec![1.0; 9]).unwrap();
        for (row, column) in [([0.0, 1.0, 0.5], "N"), ([1.0, f64::NAN, 0.5], "D"), ([1.0, 1.0, 1.1], "r")] {
            let e = law.predict(&row).unwrap_err();
            assert_eq!((e.code(), e.location().column.as_deref()), (Code::InvalidValue, Some(column)));
        }
        assert_eq!(law.predict(&[1.0]).unwrap_err().code(), Code::InvalidArgument);
        assert_eq!(
            Law::new(LawForm::Power, vec![1.0, -1.0, 0.5]).unwrap_err().location().column.as_deref(),
            Some("A")
        );
        assert!(Law::new(LawForm::Power, vec![1.0]).is_err());
    }

    #[test]
    fn comes_back_from_its_file() {
        let law = Law::new(LawForm::Power, vec![0.1, 0.2, 0.3]).unwrap().fitted_on(vec![[1.0, 10.0]]);
        let path = std::env::temp_dir().join(format!("gristmill-mix-law-{}.json", std::process::id()));
        law.save(&path).unwrap();
        assert_eq!(Law::load(&path).unwrap(), law);
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [("/1", "/2"), ("0.2", "-0.2"), ("[[1.0,10.0]]", "[]"), ("power", "ratio")] {
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
            assert_eq!(Law::load(&path).unwrap_err().code(), Code::InvalidModel, "{from} to {to}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn says_where_it_extrapolates() {
        let law =
            Law::new(LawForm::Chinchilla, vec![1.0; 5]).unwrap().fitted_on(vec![[1.0, 4.0], [2.0, 8.0]]);
        assert!(law.predict(&[4.0, 2.0]).unwrap().extrapolated.is_empty());
        assert_eq!(law.predict(&[7.0, 1.0]).unwrap().extrapolated, ["N", "D"]);
    }
}
