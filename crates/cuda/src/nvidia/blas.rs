//! Matrix products by cuBLASLt, if it can be loaded: in `f32`, never in TF32.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use cudarc::cublaslt::{result, sys};
use cudarc::driver::result as driver;
use cudarc::driver::sys::CUstream;
use gristmill_core::{Code, DType, Error, Result};

use super::Context;
use crate::driver::Gemm;

/// What cuBLASLt may use for itself: NVIDIA's advice for Hopper.
const WORKSPACE: usize = 32 << 20;

/// What the choice of an algorithm depends on.
type Key = ([usize; 3], usize, [usize; 3], [u64; 3], [DType; 2], [bool; 2]);

pub(super) struct Blas {
    handle: sys::cublasLtHandle_t,
    workspace: u64,
    /// `None` for products that the library does not do.
    chosen: RefCell<HashMap<Key, Option<sys::cublasLtMatmulAlgo_t>>>,
    _context: Rc<Context>,
}

impl Blas {
    /// Whether the library can be loaded.
    pub(super) fn is_there() -> bool {
        // SAFETY: it only tries to open the library, whose initialisers are NVIDIA's own.
        catch_unwind(|| unsafe { sys::is_culib_present() }).unwrap_or(false)
    }

    /// The library with a handle, if it is there and starts.
    pub(super) fn new(context: &Rc<Context>) -> Option<Self> {
        if !Self::is_there() {
            return None;
        }
        let handle = catch_unwind(result::create_handle).ok()?.ok()?;
        // SAFETY: the context is current; freed in `drop`.
        let workspace = unsafe { driver::malloc_sync(WORKSPACE) };
        let Ok(workspace) = workspace else {
            // SAFETY: created above, and not used.
            let _ = unsafe { result::destroy_handle(handle) };
            return None;
        };
        Some(Self { handle, workspace, chosen: RefCell::default(), _context: context.clone() })
    }

    /// Enqueues a product; `false` when the library does not do it.
    pub(super) fn gemm(&self, gemm: &Gemm, stream: CUstream) -> Result<bool> {
        // A function that an older library lacks panics.
        catch_unwind(AssertUnwindSafe(|| self.multiply(gemm, stream))).unwrap_or(Ok(false))
    }

    fn multiply(&self, gemm: &Gemm, stream: CUstream) -> Result<bool> {
        let Ok(problem) = Problem::new(gemm) else { return Ok(false) };
        let Some(algorithm) = self.algorithm(gemm, &problem) else { return Ok(false) };
        // SAFETY: handle and descriptors are alive; the addresses have matrices of the sizes that they say; alpha and
        // beta are read before the call returns; the workspace is used by one product at a time, in the stream's order.
        let done = unsafe {
            result::matmul(
                self.handle,
                problem.desc,
                (&raw const gemm.alpha).cast(),
                (&raw const gemm.beta).cast(),
                gemm.a as *const c_void,
                problem.layouts[0],
                gemm.b as *const c_void,
                problem.layouts[1],
                gemm.out as *const c_void,
                problem.layouts[2],
                gemm.out as *mut c_void,
                problem.layouts[2],
                &raw const algorithm,
                self.workspace as *mut c_void,
                WORKSPACE,
                stream.cast(),
            )
        };
        done.map(|()| true).map_err(|e| Error::new(Code::DeviceLost, format!("cuBLASLt failed: {e}")))
    }

    fn algorithm(&self, gemm: &Gemm, problem: &Problem) -> Option<sys::cublasLtMatmulAlgo_t> {
        // Alignment as far as algorithms tell it apart.
        let alignments = [gemm.a, gemm.b, gemm.out].map(|address| 1 << address.trailing_zeros().min(8));
        let key = (
            [gemm.m, gemm.n, gemm.k],
            gemm.batch,
            gemm.strides,
            alignments,
            [gemm.dtype, gemm.out_dtype],
            [gemm.trans_a, gemm.trans_b],
        );
        *self.chosen.borrow_mut().entry(key).or_insert_with(|| problem.choose(self.handle, alignments).ok())
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        // SAFETY: both were made in `new`; freeing waits for products under way.
        unsafe {
            let _ = driver::free_sync(self.workspace);
            let _ = catch_unwind(AssertUnwindSafe(|| result::destroy_handle(self.handle)));
        }
    }
}

fn cuda_type(dtype: DType) -> Result<sys::cudaDataType, result::CublasError> {
    match dtype {
        DType::F32 => Ok(sys::cudaDataType::CUDA_R_32F),
        DType::Bf16 => Ok(sys::cudaDataType::CUDA_R_16BF),
        DType::F16 => Ok(sys::cudaDataType::CUDA_R_16F),
        _ => Err(result::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED)),
    }
}

/// Descriptors of a product.
struct Problem {
    desc: sys::cublasLtMatmulDesc_t,
    /// Of a, b and the product; null until made.
    layouts: [sys::cublasLtMatrixLayout_t; 3],
}

impl Problem {
    fn new(gemm: &Gemm) -> Result<Self, result::CublasError> {
        use sys::cublasLtMatmulDescAttributes_t as D;
        let Gemm { m, n, k, .. } = *gemm;
        let desc = result::create_matmul_desc(
            sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
            sys::cudaDataType::CUDA_R_32F,
        )?;
        let mut problem = Self { desc, layouts: [std::ptr::null_mut(); 3] };
        for (attribute, transposed) in
            [(D::CUBLASLT_MATMUL_DESC_TRANSA, gemm.trans_a), (D::CUBLASLT_MATMUL_DESC_TRANSB, gemm.trans_b)]
        {
            // CUBLAS_OP_T is 1, CUBLAS_OP_N is 0.
            let op = i32::from(transposed);
            // SAFETY: the descriptor is alive, and the value an i32, as the attribute wants.
            unsafe {
                result::set_matmul_desc_attribute(desc, attribute, (&raw const op).cast(), size_of::<i32>())?
            };
        }
        let matrices = [
            (gemm.dtype, if gemm.trans_a { (k, m) } else { (m, k) }),
            (gemm.dtype, if gemm.trans_b { (n, k) } else { (k, n) }),
            (gemm.out_dtype, (m, n)),
        ];
        for (i, (dtype, (rows, columns))) in matrices.into_iter().enumerate() {
            let dtype = cuda_type(dtype)?;
            let layout =
                result::create_matrix_layout(dtype, rows as u64, columns as u64, rows.max(1) as i64)?;
            problem.layouts[i] = layout;
            set_batch(layout, gemm.batch, gemm.strides[i])?;
        }
        Ok(problem)
    }

    /// The library's own first choice, among those that add up in `f32` to the end.
    fn choose(
        &self,
        handle: sys::cublasLtHandle_t,
        alignments: [u64; 3],
    ) -> Result<sys::cublasLtMatmulAlgo_t, result::CublasError> {
        use sys::cublasLtMatmulPreferenceAttributes_t as P;
        /// `CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`
        const SCHEMES: u32 = 3;
        let preference = Preference(result::create_matmul_pref()?);
        let [a, b, c] = alignments.map(|bytes| bytes as u32);
        preference.set(P::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE as u64)?;
        for (attribute, value) in [
            (P::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, SCHEMES),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c),
            (P::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c),
        ] {
            preference.set(attribute, value)?;
        }
        let [a, b, c] = self.layouts;
        // SAFETY: handle, descriptors and preference are alive.
        unsafe { result::get_matmul_algo_heuristic(handle, self.desc, a, b, c, c, preference.0) }
            .map(|found| found.algo)
    }
}

fn set_batch(
    layout: sys::cublasLtMatrixLayout_t,
    batch: usize,
    stride: usize,
) -> Result<(), result::CublasError> {
    use sys::cublasLtMatrixLayoutAttribute_t as L;
    let Ok(count) = i32::try_from(batch) else {
        return Err(result::CublasError(sys::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED));
    };
    let stride = stride as i64;
    // SAFETY: the layout is alive, and the values have the types that the attributes want.
    unsafe {
        result::set_matrix_layout_attribute(
            layout,
            L::CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
            (&raw const count).cast(),
            size_of::<i32>(),
        )?;
        result::set_matrix_layout_attribute(
            layout,
            L::CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
            (&raw const stride).cast(),
            size_of::<i64>(),
        )
    }
}

impl Drop for Problem {
    fn drop(&mut self) {
        // SAFETY: each was created in `new` and is destroyed once; the library has copied what it needs of them.
        unsafe {
            for layout in self.layouts.into_iter().filter(|l| !l.is_null()) {
                let _ = result::destroy_matrix_layout(layout);
            }
            let _ = result::destroy_matmul_desc(self.desc);
        }
    }
}

struct Preference(sys::cublasLtMatmulPreference_t);

impl Preference {
    fn set<T>(
        &self,
        attribute: sys::cublasLtMatmulPreferenceAttributes_t,
        value: T,
    ) -> Result<(), result::CublasError> {
        // SAFETY: the preference is alive; the callers give values of the types that the attributes want.
        unsafe {
            result::set_matmul_pref_attribute(self.0, attribute, (&raw const value).cast(), size_of::<T>())
        }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created by `choose` and destroyed once.
        let _ = unsafe { result::destroy_matmul_pref(self.0) };
    }
}
