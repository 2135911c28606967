//! What a boundary promises: it is an orthogonal projection, its gradient is its adjoint, and nothing is lost beside it.

use gristmill_comm::subspace::Subspace;
use gristmill_core::ops::MatmulOptions;
use gristmill_core::rng::{Philox, uniform};
use gristmill_core::{Code, DType, Device, Tensor};

const WIDTH: usize = 48;
const RANK: usize = 6;
const WORDS: usize = 33;
const TOKENS: usize = 21;

fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let random = Philox::new(seed, 1);
    (0..n).map(|i| 2.0 * uniform(random.bits(i as u64)) - 1.0).collect()
}

fn tensor(device: &Device, seed: u64, shape: [usize; 2]) -> Tensor {
    device.tensor(numbers(seed, shape[0] * shape[1]), shape).unwrap()
}

fn values(t: &Tensor) -> Vec<f64> {
    t.cast(DType::F32).unwrap().to_vec::<f32>().unwrap().into_iter().map(f64::from).collect()
}

fn dot(a: &Tensor, b: &Tensor) -> f64 {
    values(a).iter().zip(values(b)).map(|(a, b)| a * b).sum()
}

fn less(a: &Tensor, b: &Tensor) -> Tensor {
    let out = a.copy().unwrap();
    out.axpy(-1.0, b).unwrap();
    out
}

fn norm(a: &Tensor) -> f64 {
    dot(a, a).sqrt()
}

fn ids(device: &Device) -> Tensor {
    device.tensor((0..TOKENS).map(|i| (i * 7 % WORDS) as u32).collect(), [TOKENS]).unwrap()
}

fn boundary(device: &Device, dtype: DType) -> Subspace {
    let anchor = tensor(device, 3, [WORDS, WIDTH]);
    Subspace::random(device, WIDTH, RANK, 11, dtype).unwrap().anchored(&anchor).unwrap()
}

/// How far the basis is from orthonormal.
fn skew(s: &Subspace) -> f64 {
    let gram =
        s.basis().matmul(s.basis(), MatmulOptions { trans_a: true, ..MatmulOptions::default() }).unwrap();
    let unit = |at: usize| if at / s.rank() == at % s.rank() { 1.0 } else { 0.0 };
    values(&gram).iter().enumerate().map(|(at, x)| (x - unit(at)).abs()).fold(0.0, f64::max)
}

#[test]
fn a_basis_is_orthonormal_and_depends_on_its_seed_alone() {
    let device = gristmill_cpu::open().unwrap();
    for (width, rank) in [(1, 1), (7, 7), (WIDTH, RANK), (300, 40)] {
        let s = Subspace::random(&device, width, rank, 5, DType::F32).unwrap();
        assert!(skew(&s) < 1e-6, "{width} {rank}: {}", skew(&s));
        let again = Subspace::random(&device, width, rank, 5, DType::F32).unwrap();
        assert_eq!(s.basis().read().unwrap(), again.basis().read().unwrap());
        // One that was saved comes back to the bit.
        let loaded = Subspace::spanned(s.basis(), DType::F32).unwrap();
        assert_eq!(s.basis().read().unwrap(), loaded.basis().read().unwrap());
    }
    let other = Subspace::random(&device, WIDTH, RANK, 6, DType::F32).unwrap();
    assert_ne!(other.basis().read().unwrap(), boundary(&device, DType::F32).basis().read().unwrap());
    // Any matrix of full rank spans what it spans.
    let matrix = tensor(&device, 9, [WIDTH, RANK]);
    let s = Subspace::spanned(&matrix, DType::F32).unwrap();
    let columns = matrix.reshape([WIDTH, RANK]).unwrap();
    let rows = device.tensor(transposed(&columns.to_vec::<f32>().unwrap(), RANK), [RANK, WIDTH]).unwrap();
    let back = s.expand(&s.project(&rows, None).unwrap(), None).unwrap();
    assert!(skew(&s) < 1e-6 && norm(&less(&back, &rows)) < 1e-5 * norm(&rows));
}

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|j| values.iter().skip(j).step_by(columns).copied()).collect()
}

#[test]
fn what_lies_in_the_span_comes_back_and_the_rest_is_taken_out() {
    let device = gristmill_cpu::open().unwrap();
    let ids = ids(&device);
    for (dtype, close) in [(DType::F32, 1e-5), (DType::Bf16, 0.03), (DType::F16, 0.004)] {
        let s = boundary(&device, dtype);
        let inside = tensor(&device, 4, [TOKENS, RANK]).cast(dtype).unwrap();
        let x = s.expand(&inside, Some(&ids)).unwrap();
        assert_eq!((x.dtype(), &**x.shape()), (dtype, &[TOKENS, WIDTH][..]));
        let sent = s.project(&x, Some(&ids)).unwrap();
        assert_eq!((sent.dtype(), &**sent.shape()), (dtype, &[TOKENS, RANK][..]));
        assert!(norm(&less(&sent, &inside)) < close * norm(&inside), "{dtype}");
        let again = s.expand(&sent, Some(&ids)).unwrap();
        assert!(norm(&less(&again, &x)) < close * norm(&x), "{dtype}");
        // Of anything else, what is missing is normal to the basis.
        let x = tensor(&device, 5, [TOKENS, WIDTH]).cast(dtype).unwrap();
        let back = s.expand(&s.project(&x, Some(&ids)).unwrap(), Some(&ids)).unwrap();
        let missing = less(&x, &back);
        assert!(norm(&missing) > 0.5 * norm(&x), "{dtype}");
        assert!(norm(&s.project_gradient(&missing).unwrap()) < close * norm(&missing), "{dtype}");
    }
}

#[test]
fn gradients_are_the_adjoints() {
    let device = gristmill_cpu::open().unwrap();
    let (s, ids) = (boundary(&device, DType::F32), ids(&device));
    let wide = |seed| tensor(&device, seed, [TOKENS, WIDTH]);
    let narrow = |seed| tensor(&device, seed, [TOKENS, RANK]);
    let (x, y, a, b, g) = (wide(1), wide(2), narrow(3), narrow(4), wide(5));
    let project = |x: &Tensor| s.project(x, Some(&ids)).unwrap();
    let expand = |a: &Tensor| s.expand(a, Some(&ids)).unwrap();
    let forth = dot(&less(&project(&x), &project(&y)), &a);
    let back = dot(&less(&x, &y), &s.expand_gradient(&a).unwrap());
    assert!((forth - back).abs() < 1e-4 * (1.0 + back.abs()), "{forth} {back}");
    let forth = dot(&less(&expand(&a), &expand(&b)), &g);
    let back = dot(&less(&a, &b), &s.project_gradient(&g).unwrap());
    assert!((forth - back).abs() < 1e-4 * (1.0 + back.abs()), "{forth} {back}");
}

#[test]
fn the_gradient_at_the_basis_is_that_of_the_whole_boundary() {
    let device = gristmill_cpu::open().unwrap();
    let (s, ids) = (boundary(&device, DType::F32), ids(&device));
    let (x, weights) = (tensor(&device, 1, [TOKENS, WIDTH]), tensor(&device, 2, [TOKENS, WIDTH]));
    let sent = s.project(&x, Some(&ids)).unwrap();
    let returned = s.project_gradient(&weights).unwrap();
    let gradient = s.sender_gradient(&x, Some(&ids), &returned).unwrap();
    gradient.axpy(1.0, &s.receiver_gradient(&weights, &sent).unwrap()).unwrap();
    // The loss ⟨X̂, weights⟩ at any matrix in place of the basis, in f64.
    let rows = values(&s.anchor().unwrap().gather(&ids, None).unwrap());
    let (d, w): (Vec<f64>, _) =
        (values(&x).iter().zip(&rows).map(|(x, r)| x - r).collect(), values(&weights));
    let loss = |u: &[f64]| -> f64 {
        let times = |m: &[f64], t: usize, j: usize| -> f64 {
            (0..WIDTH).map(|i| m[t * WIDTH + i] * u[i * RANK + j]).sum()
        };
        (0..TOKENS)
            .flat_map(|t| (0..RANK).map(move |j| (t, j)))
            .map(|(t, j)| times(&d, t, j) * times(&w, t, j))
            .sum()
    };
    let basis = values(s.basis());
    for (at, got) in values(&gradient).into_iter().enumerate().step_by(13) {
        let moved = |by: f64| {
            let mut u = basis.clone();
            u[at] += by;
            loss(&u)
        };
        // The loss is quadratic: central differences are exact.
        let expected = (moved(0.5) - moved(-0.5)) / 1.0;
        assert!((got - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{at}: {got} {expected}");
    }
}

#[test]
fn a_learned_basis_finds_the_subspace_of_the_data_and_both_ends_have_its_bits() {
    let device = gristmill_cpu::open().unwrap();
    let truth = Subspace::random(&device, WIDTH, RANK, 77, DType::F32).unwrap();
    let x = truth.expand(&tensor(&device, 1, [200, RANK]), None).unwrap();
    let mut ends = [11, 11].map(|seed| Subspace::random(&device, WIDTH, RANK, seed, DType::F32).unwrap());
    let lost = |s: &Subspace| {
        let missing = less(&x, &s.expand(&s.project(&x, None).unwrap(), None).unwrap());
        (norm(&missing) / norm(&x), missing)
    };
    let before = lost(&ends[0]).0;
    for _ in 0..60 {
        // The loss is half the squared error; its gradient at X̂ is what is missing, with the other sign.
        let s = &ends[0];
        let gradient = lost(s).1.scale(-1.0).unwrap();
        let returned = s.project_gradient(&gradient).unwrap();
        let total = s.sender_gradient(&x, None, &returned).unwrap();
        total.axpy(1.0, &s.receiver_gradient(&gradient, &s.project(&x, None).unwrap()).unwrap()).unwrap();
        ends.iter_mut().for_each(|end| end.step(&total, 0.01).unwrap());
    }
    let after = lost(&ends[0]).0;
    assert!(before > 0.5 && after < 0.01, "{before} {after}");
    assert!(skew(&ends[0]) < 1e-6);
    assert_eq!(ends[0].basis().read().unwrap(), ends[1].basis().read().unwrap());
}

#[test]
fn a_step_takes_the_anchor_along() {
    let device = gristmill_cpu::open().unwrap();
    let (mut s, ids) = (boundary(&device, DType::F32), ids(&device));
    s.step(&tensor(&device, 8, [WIDTH, RANK]), 0.3).unwrap();
    let rows = s.anchor().unwrap().gather(&ids, None).unwrap();
    let sent = s.project(&rows, Some(&ids)).unwrap();
    assert!(norm(&sent) < 1e-5 * norm(&rows));
    assert!(norm(&less(&s.expand(&sent, Some(&ids)).unwrap(), &rows)) < 1e-5 * norm(&rows));
}

#[test]
fn what_an_outer_step_moved_out_of_the_subspace_is_kept_in_the_anchor() {
    let device = gristmill_cpu::open().unwrap();
    let (s, ids) = (boundary(&device, DType::F32), ids(&device));
    let table = tensor(&device, 20, [WORDS, WIDTH]);
    let sum = |t: &Tensor| {
        let sum = t.copy().unwrap();
        sum.axpy(1.0, s.anchor().unwrap()).unwrap();
        sum
    };
    let (whole, anchor) = (sum(&table), s.anchor().unwrap().copy().unwrap());
    s.adapt(&table).unwrap();
    // Their sum is what it was; T is in the span; what the anchor gained is normal to it.
    assert!(norm(&less(&sum(&table), &whole)) < 1e-6 * norm(&whole));
    let back = s.expand_gradient(&s.project_gradient(&table).unwrap()).unwrap();
    assert!(norm(&less(&table, &back)) < 1e-5 * norm(&table));
    let gained = less(s.anchor().unwrap(), &anchor);
    assert!(norm(&gained) > 0.5 * norm(&whole) / 2.0);
    assert!(norm(&s.project_gradient(&gained).unwrap()) < 1e-5 * norm(&gained));
    // The boundary then loses nothing of embeddings, which are rows of the sum.
    let x = whole.gather(&ids, None).unwrap();
    let over = s.expand(&s.project(&x, Some(&ids)).unwrap(), Some(&ids)).unwrap();
    assert!(norm(&less(&x, &over)) < 1e-5 * norm(&x));
    // Once more: nothing is outside.
    let (t, a) = (table.copy().unwrap(), s.anchor().unwrap().copy().unwrap());
    s.adapt(&table).unwrap();
    assert!(norm(&less(&t, &table)) < 1e-6 * norm(&t));
    assert!(norm(&less(&a, s.anchor().unwrap())) < 1e-6 * norm(&a));
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let device = gristmill_cpu::open().unwrap();
    let (s, ids) = (boundary(&device, DType::F32), ids(&device));
    let x = tensor(&device, 1, [TOKENS, WIDTH]);
    let refused = |result: gristmill_core::Result<Tensor>, code: Code, name: &str| {
        let e = result.unwrap_err();
        assert_eq!((e.code(), e.location().column.as_deref()), (code, Some(name)), "{e}");
    };
    refused(s.project(&x, None), Code::InvalidArgument, "ids");
    refused(s.project(&x, Some(&ids.narrow(0, 3).unwrap())), Code::ShapeMismatch, "ids");
    refused(s.project(&tensor(&device, 1, [TOKENS, 5]), Some(&ids)), Code::ShapeMismatch, "x");
    refused(s.project(&x.cast(DType::Bf16).unwrap(), Some(&ids)), Code::DtypeMismatch, "x");
    refused(s.expand(&x, Some(&ids)), Code::ShapeMismatch, "sent");
    let elsewhere = gristmill_cpu::open().unwrap();
    refused(s.project(&tensor(&elsewhere, 1, [TOKENS, WIDTH]), Some(&ids)), Code::DeviceMismatch, "x");
    let outside = device.tensor(vec![WORDS as u32; TOKENS], [TOKENS]).unwrap();
    let e = s.project(&x, Some(&outside)).unwrap().read().unwrap_err();
    assert_eq!((e.code(), e.location().row), (Code::InvalidValue, Some(0)), "{e}");

    let plain = Subspace::random(&device, WIDTH, RANK, 1, DType::F32).unwrap();
    refused(plain.project(&x, Some(&ids)), Code::InvalidArgument, "ids");
    // Sizes that are a slip of the pen: an error and not the end of the process.
    for width in [1 << 40, 1 << 62] {
        let error = Subspace::random(&device, width, 8, 1, DType::F32).unwrap_err();
        assert_eq!(error.code(), Code::OutOfMemory, "{error}");
    }
    assert_eq!(plain.adapt(&x).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(s.adapt(&x).unwrap_err().code(), Code::ShapeMismatch);
    for (width, rank) in [(4, 0), (4, 5), (0, 0)] {
        assert_eq!(
            Subspace::random(&device, width, rank, 1, DType::F32).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    assert_eq!(Subspace::random(&device, 4, 2, 1, DType::U8).unwrap_err().code(), Code::InvalidArgument);
    let flat = device.zeros(DType::F32, [WIDTH, 2]).unwrap();
    assert_eq!(Subspace::spanned(&flat, DType::F32).unwrap_err().code(), Code::InvalidValue);
    let mut s = s;
    let before = s.basis().read().unwrap();
    let wrong = device.tensor(vec![f32::NAN; WIDTH * RANK], [WIDTH, RANK]).unwrap();
    assert_eq!(s.step(&wrong, 0.1).unwrap_err().code(), Code::InvalidValue);
    assert_eq!(s.step(&tensor(&device, 1, [5, RANK]), 0.1).unwrap_err().code(), Code::ShapeMismatch);
    assert_eq!(
        s.step(&tensor(&device, 1, [WIDTH, RANK]), f32::NAN).unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(s.basis().read().unwrap(), before);
}
