use gristmill_core::{Code, Error, Result};

/// The shapes of laws that can be fitted. All parameters are positive but for `w1` and `w2`, which are not
/// negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LawForm {
    /// `L = E + A / x^alpha`: one quantity grows, such as parameters, tokens or compute.
    Power,
    /// `L = E + A / N^alpha + B / D^beta` (Hoffmann et al., "Training Compute-Optimal Large Language Models",
    /// 2022).
    Chinchilla,
    /// `L = E + C / (r + epsilon)^gamma`: what is left of the D-CPT law at one size and one budget.
    Ratio,
    /// `L = E + A / N^alpha + B r^eta / D^beta + C / (r + epsilon)^gamma` (Que et al., "D-CPT Law", 2024), with
    /// `r` the share, in the mixture, of the corpus whose loss this is: the domain's share for the domain loss,
    /// and one minus it for the general loss. The two losses are fitted separately.
    Dcpt,
    /// The D-CPT law plus `F / K^mu` with `K = w1 / k1 + w2 k2`, across domains that differ in how hard they
    /// are: `k1` is a domain's loss before training and `k2` the rate at which it first falls. The scale of `K`
    /// is free (`F` makes up for it), and is set so that the two terms of `K` have weights that sum to one when
    /// `k1` and `k2` are taken in units of their geometric means over the data.
    CrossDomain,
}

/// A factor of a term: a base to the power of `sign` times an exponent.
pub(super) struct Factor {
    pub(super) base: Base,
    /// Which of the form's exponents.
    pub(super) exponent: usize,
    pub(super) sign: f64,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Base {
    /// The variable in this column.
    Variable(usize),
    /// The variable in this column plus epsilon.
    Shifted(usize),
    /// `w1 / k1 + w2 k2` of these two columns.
    Hardness(usize, usize),
}

const fn factor(base: Base, exponent: usize, sign: f64) -> Factor {
    Factor { base, exponent, sign }
}

/// A shape as data: `L = E + Σ_t coefficient_t Π_f base_f ^ (± exponent_f)`.
pub(super) struct Shape {
    pub(super) variables: &'static [&'static str],
    /// In the order in which parameters are shown.
    pub(super) parameters: &'static [&'static str],
    pub(super) terms: &'static [&'static [Factor]],
    /// Where in `parameters` each term's coefficient is.
    pub(super) coefficients: &'static [usize],
    /// Where in `parameters` each exponent is.
    pub(super) exponents: &'static [usize],
    /// Where epsilon is.
    pub(super) epsilon: Option<usize>,
    /// Where `w1` is; `w2` follows it.
    pub(super) hardness: Option<usize>,
}

use Base::{Hardness, Shifted, Variable};

static POWER: Shape = Shape {
    variables: &["x"],
    parameters: &["E", "A", "alpha"],
    terms: &[&[factor(Variable(0), 0, -1.0)]],
    coefficients: &[1],
    exponents: &[2],
    epsilon: None,
    hardness: None,
};

static CHINCHILLA: Shape = Shape {
    variables: &["N", "D"],
    parameters: &["E", "A", "alpha", "B", "beta"],
    terms: &[&[factor(Variable(0), 0, -1.0)], &[factor(Variable(1), 1, -1.0)]],
    coefficients: &[1, 3],
    exponents: &[2, 4],
    epsilon: None,
    hardness: None,
};

static RATIO: Shape = Shape {
    variables: &["r"],
    parameters: &["E", "C", "epsilon", "gamma"],
    terms: &[&[factor(Shifted(0), 0, -1.0)]],
    coefficients: &[1],
    exponents: &[3],
    epsilon: Some(2),
    hardness: None,
};

static DCPT: Shape = Shape {
    variables: &["N", "D", "r"],
    parameters: &["E", "A", "alpha", "B", "eta", "beta", "C", "epsilon", "gamma"],
    terms: &[
        &[factor(Variable(0), 0, -1.0)],
        &[factor(Variable(2), 1, 1.0), factor(Variable(1), 2, -1.0)],
        &[factor(Shifted(2), 3, -1.0)],
    ],
    coefficients: &[1, 3, 6],
    exponents: &[2, 4, 5, 8],
    epsilon: Some(7),
    hardness: None,
};

static CROSS_DOMAIN: Shape = Shape {
    variables: &["N", "D", "r", "k1", "k2"],
    parameters: &["E", "A", "alpha", "B", "eta", "beta", "C", "epsilon", "gamma", "F", "mu", "w1", "w2"],
    terms: &[
        &[factor(Variable(0), 0, -1.0)],
        &[factor(Variable(2), 1, 1.0), factor(Variable(1), 2, -1.0)],
        &[factor(Shifted(2), 3, -1.0)],
        &[factor(Hardness(3, 4), 4, -1.0)],
    ],
    coefficients: &[1, 3, 6, 9],
    exponents: &[2, 4, 5, 8, 10],
    epsilon: Some(7),
    hardness: Some(11),
};

impl LawForm {
    pub(super) fn shape(self) -> &'static Shape {
        match self {
            Self::Power => &POWER,
            Self::Chinchilla => &CHINCHILLA,
            Self::Ratio => &RATIO,
            Self::Dcpt => &DCPT,
            Self::CrossDomain => &CROSS_DOMAIN,
        }
    }

    /// What a row of data holds, in this order. Any unit serves, one per column; sizes and tokens in billions
    /// keep the coefficients near one.
    pub fn variables(self) -> &'static [&'static str] {
        self.shape().variables
    }

    /// The names of the parameters, in the order of [`Law::parameters`](super::Law::parameters).
    pub fn parameters(self) -> &'static [&'static str] {
        self.shape().parameters
    }

    /// The column of the share `r`, for the forms that have one.
    pub fn ratio_variable(self) -> Option<usize> {
        self.variables().iter().position(|&v| v == "r")
    }

    /// Refuses a row that the form has no value for.
    pub(super) fn check_row(self, row: &[f64]) -> Result<()> {
        let names = self.variables();
        if row.len() != names.len() {
            let wanted = names.join(", ");
            return Err(Error::new(Code::InvalidArgument, format!("{} values for {wanted}", row.len())));
        }
        for (&name, &value) in names.iter().zip(row) {
            let fine = match name {
                "r" => (0.0..=1.0).contains(&value),
                _ => value.is_finite() && value > 0.0,
            };
            if !fine {
                let rule = if name == "r" { "is no share between 0 and 1" } else { "is not positive" };
                return Err(Error::new(Code::InvalidValue, format!("{value} {rule}")).at_column(name));
            }
        }
        Ok(())
    }
}

impl Base {
    /// The value of this base, given epsilon and the weights of `K`.
    pub(super) fn value(self, row: &[f64], epsilon: f64, weights: [f64; 2]) -> f64 {
        match self {
            Variable(j) => row[j],
            Shifted(j) => row[j] + epsilon,
            Hardness(a, b) => weights[0] / row[a] + weights[1] * row[b],
        }
    }
}
