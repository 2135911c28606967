use super::*;
use rand::RngExt;

fn random(rows: usize, columns: usize, seed: u64) -> Matrix {
    let mut rng = rng::stream(seed, "test", 0);
    Matrix::new(rows, columns, (0..rows * columns).map(|_| rng.random_range(0..300) as f64 / 300.0).collect())
        .unwrap()
}

fn surface(x: &Matrix) -> Vec<f64> {
    x.iter_rows().map(|r| (3.0 * r[0]).sin() + r[1] * r[2] - (r[3] - 0.5).abs()).collect()
}

fn fit(x: &Matrix, y: &[f64], options: GbdtOptions) -> Gbdt {
    Gbdt::fit(x, y, &options, &Control::default()).unwrap()
}

/// Boosting written out from its definition: every split of every leaf tried on the rows themselves.
fn reference(x: &Matrix, y: &[f64], o: &GbdtOptions) -> Vec<f64> {
    let edges = Bins::of(x, o.max_bins, o.min_rows_per_bin);
    let bins = edges.apply(x);
    let at = |row: usize, f: usize| bins[row * x.columns() + f];
    let score = |rows: &[usize], r: &[f64]| {
        let s: f64 = rows.iter().map(|&i| r[i]).sum();
        s * s / (rows.len() as f64 + o.l2)
    };
    let mut p = vec![y.iter().sum::<f64>() / y.len() as f64; y.len()];
    for _ in 0..o.trees {
        let r: Vec<f64> = y.iter().zip(&p).map(|(y, p)| y - p).collect();
        let mut leaves: Vec<Vec<usize>> = vec![(0..y.len()).collect()];
        while leaves.len() < o.leaves {
            let mut best: Option<(f64, usize, Vec<usize>, Vec<usize>)> = None;
            for (l, rows) in leaves.iter().enumerate() {
                for f in 0..x.columns() {
                    for cut in 0..edges.edges[f].len() {
                        let (a, b): (Vec<_>, Vec<_>) =
                            rows.iter().partition(|&&i| usize::from(at(i, f)) <= cut);
                        if a.len().min(b.len()) < o.min_rows_per_leaf {
                            continue;
                        }
                        let gain = score(&a, &r) + score(&b, &r) - score(rows, &r);
                        if gain > best.as_ref().map_or(1e-9, |b| b.0 + 1e-12) {
                            best = Some((gain, l, a, b));
                        }
                    }
                }
            }
            let Some((_, l, a, b)) = best else { break };
            leaves[l] = a;
            leaves.push(b);
        }
        for rows in leaves {
            let value = rows.iter().map(|&i| r[i]).sum::<f64>() / (rows.len() as f64 + o.l2);
            rows.iter().for_each(|&i| p[i] += o.learning_rate * value);
        }
    }
    p
}

#[test]
fn equals_boosting_by_definition_on_its_training_rows() {
    let x = random(150, 5, 1);
    let y = surface(&x);
    for l2 in [0.0, 3.0] {
        let o = GbdtOptions {
            trees: 12,
            learning_rate: 0.3,
            leaves: 9,
            min_rows_per_leaf: 7,
            l2,
            ..Default::default()
        };
        let expected = reference(&x, &y, &o);
        for (p, e) in fit(&x, &y, o).predict(&x).unwrap().iter().zip(expected) {
            assert!((p - e).abs() < 1e-9, "{p} {e}");
        }
    }
}

#[test]
fn batches_give_what_walking_gives() {
    for leaves in [2, 31, 64] {
        let x = random(900, 6, 2);
        let o =
            GbdtOptions { trees: 40, leaves, min_rows_per_leaf: 4, learning_rate: 0.2, ..Default::default() };
        let model = fit(&x, &surface(&x), o);
        let most = model.trees.iter().map(|t| t.value.len()).max().unwrap();
        assert_eq!(most, leaves);
        let fresh = random(4099, 6, 3);
        let walked: Vec<f64> = model
            .bins
            .apply(&fresh)
            .chunks(6)
            .map(|bins| model.trees.iter().fold(model.base, |sum, tree| sum + tree.walk(bins)))
            .collect();
        assert_eq!(model.predict(&fresh).unwrap(), walked);
        let some: Vec<usize> = (0..50).collect();
        assert_eq!(model.predict(&fresh.select(&some)).unwrap(), walked[..50]);
    }
}

#[test]
fn early_stopping_stops_where_noise_begins() {
    let x = random(400, 4, 4);
    let mut rng = rng::stream(5, "test", 0);
    let y: Vec<f64> = surface(&x).iter().map(|v| v + rng.random_range(-1.0..1.0)).collect();
    let o = GbdtOptions {
        learning_rate: 0.1,
        early_stopping: Some(EarlyStopping::default()),
        ..Default::default()
    };
    let stopped = fit(&x, &y, o.clone());
    assert!((3..300).contains(&stopped.trees()), "{}", stopped.trees());
    let all = fit(&x, &y, GbdtOptions { early_stopping: None, ..o.clone() });
    let fresh = random(2000, 4, 6);
    let error = |m: &Gbdt| -> f64 {
        m.predict(&fresh).unwrap().iter().zip(surface(&fresh)).map(|(p, y)| (p - y) * (p - y)).sum()
    };
    assert!(error(&stopped) < error(&all));
    let kept = EarlyStopping { refit: false, ..Default::default() };
    let unrefitted = fit(&x, &y, GbdtOptions { early_stopping: Some(kept), ..o });
    assert_eq!(unrefitted.trees(), stopped.trees());
    assert_ne!(unrefitted, stopped);
}

#[test]
fn too_few_rows_or_constant_values_give_the_mean() {
    let x = random(30, 2, 7);
    let y: Vec<f64> = x.column(0);
    let mean = y.iter().sum::<f64>() / 30.0;
    let model = fit(&x, &y, GbdtOptions::default());
    assert_eq!((model.trees(), model.predict(&x).unwrap()), (0, vec![mean; 30]));
    assert_eq!(fit(&random(100, 2, 7), &[2.5; 100], GbdtOptions::default()).trees(), 0);
}

#[test]
fn refuses_bad_input() {
    let x = random(60, 2, 8);
    let y = x.column(0);
    let bad = |o: GbdtOptions| Gbdt::fit(&x, &y, &o, &Control::default()).unwrap_err().code();
    let d = GbdtOptions::default;
    for o in [
        GbdtOptions { leaves: 65, ..d() },
        GbdtOptions { max_bins: 257, ..d() },
        GbdtOptions { learning_rate: f64::NAN, ..d() },
        GbdtOptions { l2: -1.0, ..d() },
        GbdtOptions { trees: 0, ..d() },
        GbdtOptions { early_stopping: Some(EarlyStopping { share: 1.0, ..Default::default() }), ..d() },
    ] {
        assert_eq!(bad(o), Code::InvalidArgument);
    }
    let mut holed = x.clone();
    holed.row_mut(3)[1] = f64::NAN;
    let e = Gbdt::fit(&holed, &y, &d(), &Control::default()).unwrap_err();
    assert_eq!(
        (e.code(), e.location().row, e.location().column.as_deref()),
        (Code::InvalidValue, Some(3), Some("feature 1"))
    );
    let model = fit(&x, &y, d());
    assert_eq!(model.predict(&holed).unwrap_err().code(), Code::InvalidValue);
    assert_eq!(model.predict(&random(3, 3, 9)).unwrap_err().code(), Code::InvalidArgument);
    let cancelled = Control::default();
    cancelled.cancel_token().cancel();
    assert_eq!(Gbdt::fit(&x, &y, &d(), &cancelled).unwrap_err().code(), Code::Aborted);
}

#[test]
fn saved_models_come_back_and_hostile_ones_do_not() {
    let x = random(200, 3, 10);
    let y = x.column(1);
    let model = fit(&x, &y, GbdtOptions { trees: 5, ..Default::default() });
    let text = serde_json::to_string(&model).unwrap();
    assert!(serde_json::from_str::<Gbdt>(&text).unwrap() == model, "not the same bits");

    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let spoil = |change: fn(&mut serde_json::Value)| {
        let mut v = value.clone();
        change(&mut v);
        serde_json::from_value::<Gbdt>(v).unwrap_err().to_string()
    };
    assert!(spoil(|v| v["trees"][0]["left"][0] = 0.into()).contains("no tree"), "a cycle");
    assert!(spoil(|v| v["trees"][0]["right"][0] = (-999).into()).contains("no tree"), "a leaf out of range");
    assert!(spoil(|v| v["trees"][1]["feature"][0] = 3.into()).contains("feature"));
    assert!(spoil(|v| v["trees"][1]["value"] = serde_json::json!([])).contains("leaves"));
    assert!(spoil(|v| v["edges"][0] = serde_json::json!([2.0, 1.0])).contains("bins"));
}
