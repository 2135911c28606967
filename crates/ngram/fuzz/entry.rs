//! What is done with a file that may be hostile: everything that a user's file goes through. Shared by the fuzz
//! targets and by a test.

use gristmill_core::{Code, Error};
use gristmill_ngram::model::Model;
use gristmill_ngram::normalize::Normalizer;
use gristmill_ngram::{arpa, gml};

/// Reads bytes as a model of any form; what reads must score, and what is refused must be refused as a model.
pub fn model(bytes: &[u8]) {
    match Model::from_bytes(bytes) {
        Err(error) => refused(&error),
        Ok(model) => {
            let words = model.words() as u32;
            let ids: Vec<u32> = (0..300u32).map(|i| i.wrapping_mul(2_654_435_761) % (words + 2)).collect();
            let mut scores = Vec::new();
            model.score(&ids, true, true, &mut scores);
            assert_eq!(scores.len(), ids.len() + 1);
            assert!(scores.iter().all(|score| !score.is_nan()), "a score is no number");
        }
    }
    // The readers of tables, which are other ones than that of a model for queries; what they read can be written.
    for tables in [gml::parse(bytes).map(|(tables, _)| tables), arpa::parse(bytes)] {
        match tables {
            Err(error) => refused(&error),
            Ok(tables) => drop(gml::write(&tables, &Default::default(), std::io::sink())),
        }
    }
}

/// Reads bytes as a tokenizer of any form, and cuts text with it.
pub fn tokenizer(bytes: &[u8]) {
    match Normalizer::from_bytes(bytes) {
        Err(error) => refused(&error),
        Ok(normalizer) => {
            for text in ["", "a", "The white whale, e\u{301}té \u{3000} <sep> 漢字 \u{1f433}##mill [UNK]"]
            {
                if let Err(error) = normalizer.tokens(text) {
                    refused(&error);
                }
            }
        }
    }
}

fn refused(error: &Error) {
    assert_eq!(error.code(), Code::InvalidModel, "{error}");
}
