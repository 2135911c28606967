//! What the jobs are told: plain structs whose JSON form is the options object of the TypeScript API.
//!
//! Every struct refuses unknown fields, so a misspelt option is an error and never a silent default.

mod combine;
mod fit;
mod rate;
mod score;
mod select;
mod size;
mod source;

pub use gristmill_data::OnError;
pub use gristmill_select::Crossing;

pub use crate::memory::NeuralOptions;
pub use crate::methods::{Cutoffs, Method};
pub use combine::{CombineOptions, Raters};
pub use fit::{DiscountFallback, FitOptions};
pub use rate::{OnContradiction, RateOptions};
pub use score::ScoreOptions;
pub use select::{CurriculumOptions, DuplicateIds, Quotas, SelectOptions};
pub use size::ByteSize;
pub use source::SourceOptions;

#[cfg(test)]
mod tests {
    use gristmill_core::Code;

    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1500", 1500),
            ("64KB", 64_000),
            ("1.5 GB", 1_500_000_000),
            ("2G", 2_000_000_000),
            ("512MiB", 512 << 20),
        ] {
            assert_eq!(ByteSize::parse(text).unwrap().0, bytes, "{text}");
        }
        for text in ["", "GB", "-1", "1.2.3", "2 bananas", "0", "1e300TB", "nan"] {
            assert_eq!(ByteSize::parse(text).unwrap_err().code(), Code::InvalidArgument, "{text}");
        }
        assert_eq!(serde_json::from_str::<ByteSize>("4096").unwrap().0, 4096);
        assert!(serde_json::from_str::<ByteSize>("-1").is_err());
    }

    #[test]
    fn a_source_is_a_path_or_paths_or_a_table() {
        let parse = |json: &str| serde_json::from_str::<SourceOptions>(json);
        assert_eq!(parse(r#"["a", "b"]"#).unwrap().paths, ["a", "b"]);
        let table = parse(r#"{"paths": "a", "where": "x > 1", "lines": true}"#).unwrap();
        assert_eq!((table.filter.as_deref(), table.lines), (Some("x > 1"), true));
        assert_eq!(parse(&serde_json::to_string(&table).unwrap()).unwrap(), table);
        let error = parse(r#"{"paths": "a", "txet": "body"}"#).unwrap_err().to_string();
        assert!(error.contains("txet"), "{error}");
        assert!(parse("3").unwrap_err().to_string().contains("a path, an array of paths"));
    }

    #[test]
    fn options_have_defaults_and_refuse_what_they_do_not_know() {
        let fit: FitOptions = serde_json::from_str(r#"{"corpus": "wiki/", "output": "m.gml"}"#).unwrap();
        assert_eq!(fit, FitOptions::new("wiki/".into(), "m.gml"));
        let score: ScoreOptions = serde_json::from_str(r#"{"pool": "p/", "output": "s/"}"#).unwrap();
        assert_eq!(score, ScoreOptions::new("p/".into(), "s/"));
        let select: SelectOptions =
            serde_json::from_str(r#"{"pool": "p/", "output": "o/", "budget": 1000, "target": ["t"]}"#)
                .unwrap();
        assert_eq!(select.budget.as_deref(), Some("1000"));
        assert_eq!(select.duplicates(), DuplicateIds::Fail);
        let wrong = r#"{"pool": "p/", "output": "o/", "budegt": 1}"#;
        assert!(serde_json::from_str::<SelectOptions>(wrong).unwrap_err().to_string().contains("budegt"));
        let quarantine = r#"{"pool": "p/", "output": "o/", "onError": "quarantine"}"#;
        assert_eq!(
            serde_json::from_str::<SelectOptions>(quarantine).unwrap().duplicates(),
            DuplicateIds::Drop
        );
    }

    #[test]
    fn a_fall_back_is_a_flag_or_three_numbers() {
        let parse = |json: &str| serde_json::from_str::<DiscountFallback>(json).unwrap().discounts();
        assert_eq!(parse("true"), Some([0.5, 1.0, 1.5]));
        assert_eq!(parse("false"), None);
        assert_eq!(parse("[0.1, 0.2, 0.3]"), Some([0.1, 0.2, 0.3]));
    }
}
