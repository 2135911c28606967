//! What is written is read again, bit for bit.

use gristmill_core::Code;
use gristmill_ngram::model::{Model, ModelMeta};
use gristmill_ngram::normalize::NormalizerSpec;
use gristmill_ngram::tables::Tables;
use gristmill_ngram::{arpa, gml};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{random_ids, random_tables};

fn assert_same(a: &Tables, b: &Tables) {
    assert!(a.vocab.iter().eq(b.vocab.iter()));
    assert_eq!(a.orders, b.orders);
}

fn meta() -> ModelMeta {
    let spec = NormalizerSpec { name: "unicode-words/1".into(), sha256: None };
    let metadata = serde_json::json!({ "corpus": { "documents": 12 }, "made": "today" });
    ModelMeta { normalizer: Some(spec), metadata: metadata.as_object().unwrap().clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn gml_round_trip(seed: u64, order in 1..=6usize, words in 1..6usize) {
        let tables = random_tables(seed, order, words);
        let mut bytes = Vec::new();
        let sha256 = gml::write(&tables, &meta(), &mut bytes).unwrap();
        let (again, meta_again) = gml::parse(&bytes).unwrap();
        assert_same(&tables, &again);
        prop_assert_eq!(meta_again, meta());

        let direct = Model::from_tables(tables, ModelMeta::default()).unwrap();
        let model = Model::from_bytes(&bytes).unwrap();
        prop_assert_eq!(model.sha256(), Some(sha256.as_str()));
        prop_assert_eq!(model.counts(), direct.counts());
        let ids = random_ids(seed, 50, words);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        model.score(&ids, true, true, &mut a);
        direct.score(&ids, true, true, &mut b);
        prop_assert_eq!(a, b);
    }

    #[test]
    fn arpa_round_trip(seed: u64, order in 1..=6usize, words in 1..6usize) {
        let tables = random_tables(seed, order, words);
        let mut text = Vec::new();
        arpa::write(&tables, &mut text).unwrap();
        let again = arpa::parse(&text).unwrap();
        assert_same(&tables, &again);
        let mut text_again = Vec::new();
        arpa::write(&again, &mut text_again).unwrap();
        prop_assert_eq!(text, text_again);
    }

    #[test]
    fn any_float_survives_arpa(bits: u32) {
        let value = f32::from_bits(bits);
        prop_assume!(value.is_finite());
        let mut tables = random_tables(1, 2, 2);
        tables.orders[0].prob[2] = -value.abs();
        tables.orders[0].backoff[2] = value;
        let mut text = Vec::new();
        arpa::write(&tables, &mut text).unwrap();
        let again = arpa::parse(&text).unwrap();
        prop_assert_eq!(again.orders[0].prob[2], -value.abs());
        prop_assert_eq!(again.orders[0].backoff[2], value);
    }
}

#[test]
fn files_are_told_apart_by_content_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let tables = random_tables(3, 3, 4);
    let expected = {
        let model = Model::from_tables(tables.clone(), ModelMeta::default()).unwrap();
        let mut scores = Vec::new();
        model.score(&random_ids(3, 40, 4), true, true, &mut scores);
        scores
    };
    // Names that say nothing, or the wrong thing.
    let [gml, arpa, gzip] = ["model.arpa", "model", "model.gz"].map(|name| folder.path().join(name));
    std::fs::write(&gml, "something older").unwrap();
    let sha256 = gml::save(&tables, &meta(), &gml).unwrap();
    arpa::save(&tables, &arpa).unwrap();
    arpa::save(&tables, &gzip).unwrap();
    assert!(std::fs::read(&gzip).unwrap().starts_with(&[0x1f, 0x8b]));
    for path in [&gml, &arpa, &gzip] {
        let model = Model::load(path).unwrap();
        let mut scores = Vec::new();
        model.score(&random_ids(3, 40, 4), true, true, &mut scores);
        assert_eq!(scores, expected, "{}", path.display());
        let digest = Sha256::digest(std::fs::read(path).unwrap());
        let digest: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(model.sha256(), Some(digest.as_str()));
    }
    assert_eq!(Model::load(&gml).unwrap().sha256(), Some(sha256.as_str()));
    assert_eq!(Model::load(&gml).unwrap().meta(), &meta());
    assert_same(&arpa::load(&gzip).unwrap(), &gml::load(&gml).unwrap().0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "temporary files stay behind");
}

#[test]
fn a_file_that_is_not_there_and_a_folder_that_is_not() {
    let error = Model::load("no/such/model.gml").unwrap_err();
    assert_eq!((error.code(), error.location().path.as_deref()), (Code::NotFound, Some("no/such/model.gml")));
    let error = gml::save(&random_tables(1, 2, 2), &meta(), "no/such/model.gml").unwrap_err();
    assert_eq!((error.code(), error.location().path.as_deref()), (Code::NotFound, Some("no/such/model.gml")));
}

#[test]
fn words_that_arpa_cannot_express() {
    let mut tables = random_tables(1, 1, 1);
    let id = tables.vocab.intern("two words");
    tables.orders[0].words.push(id);
    tables.orders[0].prob.push(-1.0);
    assert_eq!(arpa::write(&tables, Vec::new()).unwrap_err().code(), Code::Unsupported);
    let mut bytes = Vec::new();
    gml::write(&tables, &ModelMeta::default(), &mut bytes).unwrap();
    assert_same(&gml::parse(&bytes).unwrap().0, &tables);
}

#[test]
fn tables_that_are_no_model() {
    let refuse = |change: fn(&mut Tables), expected: &str| {
        let mut tables = random_tables(9, 3, 4);
        change(&mut tables);
        let error = Model::from_tables(tables, ModelMeta::default()).unwrap_err();
        assert_eq!(error.code(), Code::InvalidModel);
        assert!(error.message().contains(expected), "{error}");
    };
    refuse(|t| t.orders[1].prob[0] = 0.5, "not the logarithm");
    refuse(|t| t.orders[1].prob[0] = f32::NAN, "not the logarithm");
    refuse(|t| t.orders[1].backoff[0] = f32::INFINITY, "not finite");
    refuse(|t| t.orders[2].words[1] = 1 << 30, "not below");
    refuse(|t| t.orders[2].words[1] = 1, "without its context");
    refuse(|t| t.orders[1].words.truncate(3), "differ in length");
    refuse(|t| t.orders.clear(), "order 0");
    refuse(|t| t.orders.resize(11, Default::default()), "order 11");
    refuse(|t| assert!(t.vocab.intern("unseen") > 2), "no unigram");
    refuse(
        |t| {
            let row = t.orders[1].words[..2].to_vec();
            t.orders[1].words[2..4].copy_from_slice(&row);
        },
        "twice",
    );
}
