use gristmill_core::{Code, Device, Error, Result};

/// Embeddings to choose from: `n` rows of `d` numbers, row by row.
///
/// ```
/// let data = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
/// let points = gristmill_mix::Points::new(&data, 2)?;
/// assert_eq!((points.len(), points.row(2)), (3, &[1.0, 1.0][..]));
/// # Ok::<(), gristmill_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Points<'a> {
    data: &'a [f32],
    dimension: usize,
    device: Option<&'a Device>,
}

impl<'a> Points<'a> {
    /// Points of this dimension.
    ///
    /// # Errors
    /// No points, a length that is no multiple of the dimension, or a number that is NaN or infinite.
    pub fn new(data: &'a [f32], dimension: usize) -> Result<Self> {
        if data.is_empty() || dimension == 0 {
            return Err(Error::new(Code::EmptyInput, "no embeddings"));
        }
        if !data.len().is_multiple_of(dimension) {
            let message = format!("{} numbers are no rows of {dimension}", data.len());
            return Err(Error::new(Code::InvalidArgument, message));
        }
        match data.iter().position(|v| !v.is_finite()) {
            Some(at) => {
                Err(Error::new(Code::InvalidValue, format!("an embedding with a component of {}", data[at]))
                    .at_row((at / dimension) as u64))
            }
            None => Ok(Self { data, dimension, device: None }),
        }
    }

    /// The same points, of which a device computes the products that similarities are made of; without one they are
    /// computed on all threads of the processor.
    pub fn on(self, device: &'a Device) -> Self {
        Self { device: Some(device), ..self }
    }

    /// Other numbers in the place of these.
    pub(super) fn with<'b>(&self, data: &'b [f32]) -> Result<Points<'b>>
    where
        'a: 'b,
    {
        Ok(Points { device: self.device, ..Points::new(data, self.dimension)? })
    }

    /// The device that computes products.
    pub(super) fn device(&self) -> Option<&'a Device> {
        self.device
    }

    /// How many points.
    pub fn len(&self) -> usize {
        self.data.len() / self.dimension
    }

    /// Whether there is none; never so for a value of this type.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Numbers per point.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Point `i`.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dimension..][..self.dimension]
    }

    /// All numbers, row by row.
    pub(super) fn data(&self) -> &'a [f32] {
        self.data
    }
}

/// `Σ x²` in double precision.
pub(super) fn square(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x) * f64::from(x)).sum()
}

/// `out = a bᵀ` for row-major `a` (rows × d) and `b` (columns × d), into rows of `out` that are `stride` apart.
pub(super) fn product(a: &[f32], b: &[f32], d: usize, out: &mut [f32], stride: usize) {
    let (rows, columns) = (a.len() / d, b.len() / d);
    assert!(rows > 0 && columns > 0 && columns <= stride && out.len() >= (rows - 1) * stride + columns);
    // SAFETY: a and b hold rows * d and columns * d numbers at these strides, and the assertion says that the
    // last number written, at (rows - 1) * stride + columns - 1, is inside of out; out borrows mutably, so that
    // it overlaps neither.
    unsafe {
        matrixmultiply::sgemm(
            rows,
            d,
            columns,
            1.0,
            a.as_ptr(),
            d as isize,
            1,
            b.as_ptr(),
            1,
            d as isize,
            0.0,
            out.as_mut_ptr(),
            stride as isize,
            1,
        );
    }
}
