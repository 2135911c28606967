use gristmill_core::{Code, DType, Device, Tensor};
use gristmill_optim::{
    AdamOptions, Algorithm, Group, LostActivation, LostChannels, LostDecomposition, LostLinear, LostOptions,
    LostParts, Optimizer, OptimizerOptions,
};

use crate::{devices, distance, host, tensor};

fn options(rank: usize, gamma: f64) -> LostOptions {
    LostOptions { rank, gamma, sparsity: 0.3, sparse_svd_rank: 3, ..LostOptions::default() }
}

#[test]
fn of_full_rank_and_linear_it_is_the_dense_layer() {
    for device in devices() {
        for [out, inputs] in [[14, 9], [9, 14], [11, 11]] {
            let weight = tensor(&device, 1, &[out, inputs]);
            let x = tensor(&device, 2, &[5, inputs]);
            let transposed = gristmill_core::ops::MatmulOptions { trans_b: true, ..Default::default() };
            let want = host(&x.matmul(&weight, transposed).unwrap());
            for decomposition in [LostDecomposition::Exact, LostDecomposition::Randomized] {
                let layer = LostLinear::from_dense(
                    &weight,
                    None,
                    &LostOptions {
                        activation: LostActivation::Identity,
                        decomposition,
                        ..options(out.min(inputs), 1.0)
                    },
                )
                .unwrap();
                assert!(distance(&host(&layer.forward(&x).unwrap().y), &want) < 2e-6);
                // Without the thin part, what the columns that stay whole give.
                let parts = layer.parts();
                let sparse = LostLinear::from_parts(parts.clone(), 0.0, layer.activation()).unwrap();
                let picked = x.gather_columns(&parts.index).unwrap();
                let want = host(&picked.matmul(&parts.sparse, transposed_of()).unwrap());
                assert!(distance(&host(&sparse.forward(&x).unwrap().y), &want) < 1e-6);
            }
        }
    }
}

fn transposed_of() -> gristmill_core::ops::MatmulOptions {
    gristmill_core::ops::MatmulOptions { trans_b: true, ..Default::default() }
}

/// A weight whose decomposition is known: distinct powers of two on a permuted diagonal.
#[test]
fn factors_and_columns_are_those_of_the_decomposition() {
    let device = gristmill_cpu::open().unwrap();
    // Column, row, singular value. Behind a rank of 2 and with two components, columns 1 and 4 are the heaviest.
    let entries = [(3, 0, 32.0), (0, 4, -16.0), (4, 2, 8.0), (1, 1, 4.0), (2, 3, 2.0)];
    let mut weight = vec![0f32; 25];
    entries.iter().for_each(|&(column, row, s)| weight[row * 5 + column] = s);
    let weight = device.tensor(weight, [5, 5]).unwrap();
    let layer = LostLinear::from_dense(
        &weight,
        None,
        &LostOptions { rank: 2, sparsity: 0.4, sparse_svd_rank: 2, ..LostOptions::default() },
    )
    .unwrap();
    let LostParts { a, b, sparse, index, bias } = layer.parts();
    assert!(bias.is_none());
    assert_eq!(index.to_vec::<u32>().unwrap(), [1, 4]);
    assert_eq!(host(&sparse), [0.0, 0.0, 4.0, 0.0, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0]);
    // A B = Wᵀ on the first two components: both factors have the roots of the singular values.
    let (a, b) = (host(&a), host(&b));
    let roots = [32f32.sqrt(), 16f32.sqrt()];
    for (j, (column, row)) in [(3, 0), (0, 4)].into_iter().enumerate() {
        assert!((a[column * 2 + j].abs() - roots[j]).abs() < 1e-5);
        assert!((b[j * 5 + row].abs() - roots[j]).abs() < 1e-5);
        let sign = if j == 0 { 1.0 } else { -1.0 };
        assert!((a[column * 2 + j] * b[j * 5 + row] - sign * roots[j] * roots[j]).abs() < 1e-4);
    }
    assert!(
        a.iter().filter(|x| x.abs() > 1e-5).count() == 2 && b.iter().filter(|x| x.abs() > 1e-5).count() == 2
    );
    // Of no component behind the rank all columns are equals: the first stay.
    let full = LostOptions { rank: 5, sparsity: 0.4, ..LostOptions::default() };
    let full = LostLinear::from_dense(&weight, None, &full).unwrap();
    assert_eq!(full.parts().index.to_vec::<u32>().unwrap(), [0, 1]);
}

#[test]
fn random_columns_depend_on_the_seed_alone() {
    let mut seen = Vec::new();
    for device in devices() {
        let weight = tensor(&device, 1, &[8, 40]);
        let index = |seed: u64| {
            let options = LostOptions { channels: LostChannels::Random, seed, ..options(4, 0.5) };
            let layer = LostLinear::from_dense(&weight, None, &options).unwrap();
            layer.parts().index.to_vec::<u32>().unwrap()
        };
        assert_eq!(index(1).len(), 12);
        assert!(index(1).windows(2).all(|pair| pair[0] < pair[1]));
        assert_ne!(index(1), index(2));
        seen.push(index(1));
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]));
}

/// The layer as loops in `f64`: the sum of its results, each times a number.
struct Loops {
    sizes: [usize; 4],
    index: Vec<usize>,
    gamma: f64,
    silu: bool,
}

impl Loops {
    fn loss(&self, [x, a, b, sparse, bias, dy]: [&[f64]; 6]) -> f64 {
        let [rows, inputs, rank, out] = self.sizes;
        let k = self.index.len();
        let active = |z: f64| if self.silu { z / (1.0 + (-z).exp()) } else { z };
        let mut loss = 0.0;
        for r in 0..rows {
            let h: Vec<f64> = (0..rank)
                .map(|j| active((0..inputs).map(|i| x[r * inputs + i] * a[i * rank + j]).sum()))
                .collect();
            for o in 0..out {
                let thin: f64 = (0..rank).map(|j| h[j] * b[j * out + o]).sum();
                let whole: f64 = (0..k).map(|j| x[r * inputs + self.index[j]] * sparse[o * k + j]).sum();
                loss += dy[r * out + o] * (self.gamma * thin + (1.0 - self.gamma) * whole + bias[o]);
            }
        }
        loss
    }
}

fn layer_of(device: &Device, activation: LostActivation, dtype: DType) -> (LostLinear, Tensor, Tensor) {
    let cast = |t: Tensor| if dtype == DType::F32 { t } else { t.cast(dtype).unwrap() };
    let weight = cast(tensor(device, 1, &[7, 10]));
    let bias = tensor(device, 2, &[7]);
    let options = LostOptions { activation, ..options(3, 0.4) };
    let layer = LostLinear::from_dense(&weight, Some(&bias), &options).unwrap();
    (layer, cast(tensor(device, 3, &[6, 10]).scale(3.0).unwrap()), cast(tensor(device, 4, &[6, 7])))
}

#[test]
fn gradients_are_those_of_differences() {
    for device in devices() {
        for activation in [LostActivation::Silu, LostActivation::Identity] {
            for (dtype, bound) in [(DType::F32, 1e-5), (DType::Bf16, 3e-2)] {
                let (layer, x, dy) = layer_of(&device, activation, dtype);
                let LostParts { a, b, sparse, index, bias } = layer.parts();
                let wide = |t: &Tensor| -> Vec<f64> {
                    host(&t.cast(DType::F32).unwrap()).into_iter().map(f64::from).collect()
                };
                let index: Vec<usize> = index.to_vec::<u32>().unwrap().iter().map(|&i| i as usize).collect();
                assert_eq!(index.len(), 3);
                let loops = Loops {
                    sizes: [6, 10, 3, 7],
                    index,
                    gamma: 0.4,
                    silu: activation == LostActivation::Silu,
                };
                let inputs = [&x, &a, &b, &sparse, &bias.unwrap(), &dy].map(wide);
                let forward = layer.forward(&x).unwrap();
                let y = wide(&forward.y);
                let got: f64 = y.iter().zip(&inputs[5]).map(|(y, dy)| y * dy).sum();
                let want = loops.loss(inputs.each_ref().map(Vec::as_slice));
                assert!((got - want).abs() <= bound * want.abs().max(1.0), "{got} {want}");
                let grads = layer.backward(&x, &forward.z, &dy).unwrap();
                assert_eq!(grads.x.dtype(), dtype);
                assert!([&grads.a, &grads.b, &grads.sparse].iter().all(|g| g.dtype() == DType::F32));
                let given = [&grads.x, &grads.a, &grads.b, &grads.sparse, &grads.bias.unwrap()].map(wide);
                for (which, given) in given.iter().enumerate() {
                    let size = given.iter().fold(0f64, |max, x| max.max(x.abs()));
                    for i in 0..given.len() {
                        let at = |step: f64| {
                            let mut moved = inputs.clone();
                            moved[which][i] += step;
                            loops.loss(moved.each_ref().map(Vec::as_slice))
                        };
                        let want = (at(1e-4) - at(-1e-4)) / 2e-4;
                        let error = (given[i] - want).abs();
                        assert!(error <= bound * size, "{which} {i}: {} {want}", given[i]);
                    }
                }
            }
        }
    }
}

#[test]
fn it_learns() {
    for device in devices() {
        let teacher = tensor(&device, 1, &[12, 16]);
        let x = tensor(&device, 2, &[64, 16]).scale(2.0).unwrap();
        let want = x.matmul(&teacher, transposed_of()).unwrap();
        let options = LostOptions { activation: LostActivation::Identity, ..options(6, 0.5) };
        let start = tensor(&device, 3, &[12, 16]);
        let layer = LostLinear::from_dense(&start, Some(&tensor(&device, 4, &[12])), &options).unwrap();
        let LostParts { a, b, sparse, bias, .. } = layer.parts();
        let named = [("a", a), ("b", b), ("sparse", sparse), ("bias", bias.unwrap())];
        let mut group = Group::new(Algorithm::AdamW, named.map(|(n, t)| (n.to_owned(), t)).to_vec());
        group.adam = AdamOptions { lr: 0.03, ..AdamOptions::default() };
        let mut optimizer = Optimizer::new(&device, vec![group], OptimizerOptions::default()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..150 {
            let forward = layer.forward(&x).unwrap();
            let dy = forward.y.copy().unwrap();
            dy.axpby(-1.0, &want, 1.0).unwrap();
            losses.push(host(&dy).iter().map(|d| f64::from(d * d)).sum::<f64>());
            let dy = dy.scale(1.0 / 64.0).unwrap();
            let grads = layer.backward(&x, &forward.z, &dy).unwrap();
            optimizer.step(&[grads.a, grads.b, grads.sparse, grads.bias.unwrap()]).unwrap();
        }
        assert!(losses[149] < 0.1 * losses[0], "{} to {}", losses[0], losses[149]);
    }
}

#[test]
fn a_file_has_the_same_bits() {
    for device in devices() {
        for dtype in [DType::F32, DType::Bf16] {
            let (layer, x, _) = layer_of(&device, LostActivation::Silu, dtype);
            let file = layer.save().unwrap();
            let other = LostLinear::load(&gristmill_cpu::open().unwrap(), &file).unwrap();
            assert_eq!(other.save().unwrap(), file);
            let again = LostLinear::load(&device, &file).unwrap();
            assert_eq!((again.gamma(), again.activation()), (0.4, LostActivation::Silu));
            let bits = |layer: &LostLinear| layer.forward(&x).unwrap().y.read().unwrap();
            assert_eq!(bits(&again), bits(&layer));
            for end in [0, 7, 20, file.len() - 1] {
                let error = LostLinear::load(&device, &file[..end]).unwrap_err();
                assert_eq!(error.code(), Code::CorruptData);
            }
            // The numbers of columns are the last tensor but one in the order of names; the file says which bytes.
            let text = String::from_utf8_lossy(&file);
            assert!(text.contains("gristmill-lost/1"));
            let optimizer = Optimizer::new(&device, vec![], OptimizerOptions::default());
            if let Ok(optimizer) = optimizer {
                let error = LostLinear::load(&device, &optimizer.save().unwrap()).unwrap_err();
                assert_eq!(error.code(), Code::CorruptData);
            }
        }
    }
}

#[test]
fn what_no_layer_has_is_refused_by_name() {
    let device = gristmill_cpu::open().unwrap();
    let weight = tensor(&device, 1, &[7, 10]);
    let refused = |weight: &Tensor, bias: Option<&Tensor>, options: LostOptions| {
        let error = LostLinear::from_dense(weight, bias, &options).unwrap_err();
        (error.code(), error.location().column.clone().unwrap_or_default())
    };
    let with = |change: &dyn Fn(&mut LostOptions)| {
        let mut options = options(3, 0.5);
        change(&mut options);
        refused(&weight, None, options)
    };
    assert_eq!(with(&|o| o.rank = 0), (Code::InvalidArgument, "rank".into()));
    assert_eq!(with(&|o| o.rank = 8), (Code::InvalidArgument, "rank".into()));
    assert_eq!(with(&|o| o.gamma = 1.5), (Code::InvalidArgument, "gamma".into()));
    assert_eq!(with(&|o| o.gamma = f64::NAN), (Code::InvalidArgument, "gamma".into()));
    assert_eq!(with(&|o| o.sparsity = 0.0), (Code::InvalidArgument, "sparsity".into()));
    let vector = tensor(&device, 1, &[7]);
    assert_eq!(refused(&vector, None, options(3, 0.5)), (Code::ShapeMismatch, "weight".into()));
    let integers = device.zeros(DType::U32, [7, 10]).unwrap();
    assert_eq!(refused(&integers, None, options(3, 0.5)), (Code::DtypeMismatch, "weight".into()));
    let short = tensor(&device, 1, &[6]);
    assert_eq!(refused(&weight, Some(&short), options(3, 0.5)), (Code::ShapeMismatch, "bias".into()));
    let mut values = host(&weight);
    values[3] = f32::NAN;
    let broken = device.tensor(values, [7, 10]).unwrap();
    assert_eq!(refused(&broken, None, options(3, 0.5)).0, Code::InvalidValue);
    let layer = LostLinear::from_dense(&weight, None, &options(3, 0.5)).unwrap();
    let x = tensor(&device, 2, &[4, 10]);
    let error = layer.forward(&tensor(&device, 2, &[4, 9])).unwrap_err();
    assert_eq!((error.code(), error.location().column.as_deref()), (Code::ShapeMismatch, Some("x")));
    let error = layer.backward(&x, &x, &tensor(&device, 2, &[4, 7])).unwrap_err();
    assert_eq!((error.code(), error.location().column.as_deref()), (Code::ShapeMismatch, Some("z")));
    let error = layer.forward(&x.cast(DType::Bf16).unwrap()).unwrap_err();
    assert_eq!((error.code(), error.location().column.as_deref()), (Code::DtypeMismatch, Some("x")));
}

#[test]
fn no_rows_give_none() {
    for device in devices() {
        let (layer, _, _) = layer_of(&device, LostActivation::Silu, DType::F32);
        let x = device.zeros(DType::F32, [0, 10]).unwrap();
        let forward = layer.forward(&x).unwrap();
        let grads = layer.backward(&x, &forward.z, &forward.y).unwrap();
        assert_eq!(**grads.x.shape(), [0, 10]);
        for g in [grads.a, grads.b, grads.sparse, grads.bias.unwrap()] {
            assert!(host(&g).iter().all(|&x| x == 0.0));
        }
    }
}
