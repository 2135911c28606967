//! Laws of how a loss falls with size, tokens and mixture, fitted to runs and solved for a ratio.

mod cmr;
mod fit;
mod form;
mod law;
mod lbfgs;
mod objective;
mod ratio;
mod table;

pub use cmr::{
    CmrCurve, CmrLaw, CmrOptions, CriticalRatio, CurveFit, Infeasible, critical_mixture_ratio, fit_cmr_law,
};
pub use fit::{ExtrapolationCheck, LawFit, LawOptions, ParameterSpread, Residual, Starts, fit_law};
pub use form::LawForm;
pub use law::{Law, Prediction};
pub use ratio::{
    Allocation, RatioGoal, RatioSolution, allocate_compute, ratio_from_measurements, solve_mixture_ratio,
};
pub use table::{read_cmr_curves, read_law_points};
