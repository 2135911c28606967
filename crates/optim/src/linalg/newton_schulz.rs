use gristmill_core::ops::{Copy, GramOptions, Matmul};
use gristmill_core::{Code, DType, Error, Result, Tensor};

use super::{check_iterations, sum_squares};

/// The coefficients of the quintic of Jordan et al. (2024): its fifth iterate brings every singular value above 0.003
/// into [0.68, 1.21], though none to 1.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// An approximation of the orthogonal polar factor of `x`, the `U Vᵀ` of its singular value decomposition, by `steps`
/// iterations of Newton and Schulz (Jordan et al. 2024, "Muon"): `X ← aX + (bA + cA²)X` with `A = X Xᵀ`, from
/// `x / (‖x‖_F + 10⁻⁷)`, transposed while there are more rows than columns.
///
/// `x` is `[rows, columns]`, `f32` or `bf16`; the products are of type `dtype` (one of these), added up in `f32`, and so
/// is the result. A matrix of zeros gives zeros. Waits for the norm.
///
/// # Errors
/// [`Code::ShapeMismatch`] unless there are two dimensions; [`Code::InvalidArgument`] for more than 1,000 steps;
/// [`Code::InvalidValue`] for what is not finite; those of the device.
pub fn newton_schulz(x: &Tensor, steps: usize, dtype: DType) -> Result<Tensor> {
    let [rows, columns] = **x.shape() else {
        return Err(
            Error::new(Code::ShapeMismatch, format!("expected a matrix, given {}", x.shape())).at_column("x")
        );
    };
    check_iterations("steps", steps)?;
    let norm = f64::from(sum_squares(x)?.to_vec::<f32>()?[0]).sqrt();
    if !norm.is_finite() {
        return Err(Error::new(Code::InvalidValue, "expected finite numbers").at_column("x"));
    }
    let unit = x.scale((1.0 / (norm + 1e-7)) as f32)?;
    let mut x = if unit.dtype() == dtype { unit } else { unit.cast(dtype)? };
    let (tall, device) = (rows > columns, x.device().clone());
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..steps {
        // Of the smaller side, so that nothing is ever transposed in memory. It is symmetric, so its square is its product
        // with its transpose, and half of either is enough.
        let gram = x.gram(GramOptions { columns: tall, ..Default::default() })?;
        let out =
            gram.gram(GramOptions { alpha: c, c: Some(gram.clone()), beta: b, ..Default::default() })?;
        let product = |a: &Tensor, b: &Tensor, out: &Tensor, alpha: f32, beta: f32| {
            let (a, b, out) = (a.clone(), b.clone(), out.clone());
            device.run(Matmul { a, b, out, trans_a: false, trans_b: false, alpha, beta })
        };
        let next = device.empty(dtype, [rows, columns])?;
        device.run(Copy { x: x.clone(), out: next.clone() })?;
        match tall {
            true => product(&x, &out, &next, 1.0, a)?,
            false => product(&out, &x, &next, 1.0, a)?,
        }
        x = next;
    }
    Ok(x)
}
