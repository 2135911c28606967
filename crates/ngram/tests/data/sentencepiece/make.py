"""Small SentencePiece models and the pieces that the original cuts with them, for tests/it/tokenizers.rs.

    pip install sentencepiece==0.2.3
    python crates/ngram/tests/data/sentencepiece/make.py

Trained on the chapters of Moby-Dick beside this folder. The normalisation rules are a few of our own: the built-in
ones alone would take 200 kB a model.
"""

import io
import json
import os
import random
import tempfile
from pathlib import Path

import sentencepiece as spm

HERE = Path(__file__).resolve().parent
TEXT = HERE.parent / "moby-dick-1-16.txt"
# From, to: code points in hexadecimal.
RULES = "FF21\t41\nFF22\t42\n3000\t20\nA0\t20\nFB01\t66 69\n65 301\tE9\n200B\t\n2026\t2E 2E 2E\n41 301\tC1\n"
MODELS = {
    "unigram": {"model_type": "unigram", "vocab_size": 500},
    "unigram-bytes": {
        "model_type": "unigram",
        "vocab_size": 600,
        "byte_fallback": True,
        "user_defined_symbols": ["<sep>", "whale"],
        "remove_extra_whitespaces": False,
    },
    "unigram-suffix": {"model_type": "unigram", "vocab_size": 300, "treat_whitespace_as_suffix": True},
    "bpe": {"model_type": "bpe", "vocab_size": 500, "user_defined_symbols": ["<sep>", "whale"]},
    "bpe-bytes": {"model_type": "bpe", "vocab_size": 600, "byte_fallback": True, "add_dummy_prefix": False},
}
TEXTS = [
    "",
    " ",
    "the whale",
    "  Call me   Ishmael.  Some years ago--never mind ",
    "whalewhale <sep>the<sep> white whale's",
    "ＡＢ\u3000ﬁsh e\u0301te\u0301 A\u0301 \u200b\u2026 \u00a0",
    "漢字 and Ελληνικά 😀😀 naïve é\u0301",
    "a\nb\tc\r\nd",
    "▁already ▁ escaped <unk> <s> </s>",
    "aaaaaaaaaaaaaaaa tttttttttttttt thethethethe",
    "x" * 50,
]


def main():
    words = TEXT.read_text(encoding="utf-8").split()
    shuffle = random.Random(7)
    texts = TEXTS + [" ".join(shuffle.choices(words, k=12)) for _ in range(20)]
    texts += ["".join(shuffle.choices("abcdefg e\u0301\u3000Ａﬁ'-  whale", k=40)) for _ in range(20)]
    expected = {}
    with tempfile.TemporaryDirectory() as work:
        # Relative paths and streams only: a model records where its text was.
        os.chdir(work)
        Path("rules.tsv").write_text(RULES, encoding="utf-8")
        for name, options in MODELS.items():
            model = io.BytesIO()
            spm.SentencePieceTrainer.train(
                sentence_iterator=iter(TEXT.read_text(encoding="utf-8").splitlines()),
                model_writer=model,
                normalization_rule_tsv="rules.tsv",
                num_threads=1,
                minloglevel=2,
                **options,
            )
            model = model.getvalue()
            (HERE / f"{name}.model").write_bytes(model)
            processor = spm.SentencePieceProcessor(model_proto=model)
            expected[name] = [processor.encode(text, out_type=str) for text in texts]
    fixture = {"sentencepiece": spm.__version__, "texts": texts, "pieces": expected}
    (HERE / "expected.json").write_text(json.dumps(fixture, ensure_ascii=True, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
