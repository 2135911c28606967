"""Importance weights of DSIR's reference package on a few texts, for tests/it/hashed.rs.

    pip install data-selection==1.0.3 nltk==3.9.1
    python crates/ngram/tests/data/dsir/make.py > crates/ngram/tests/data/dsir/expected.json

NLTK 3.10 changed what its tokenizer takes for a word (marks of Indic scripts, for one); `wordpunct/1` is the
definition up to 3.9, Python's own regular expressions.
"""

import contextlib
import io
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from data_selection import HashedNgramDSIR

TARGET = [
    "The mill stood by the river, and its wheel turned day and night.",
    "Millers know: good flour wants a slow stone. \"Slow\", they said, \"and cool.\"",
    "Ein Müller mahlt Körner zu Mehl; das Mühlrad dreht sich.",
]
RAW = [
    "The wheel of the mill turned slowly in the cold river.",
    "Shares fell 3.5% on Friday... analysts didn't expect that!",
    "Le meunier moud le blé – la roue tourne jour et nuit.",
    "x_1 = f(y) + g(z)  # snake_case, __dunder__",
    "ΟΔΥΣΣΕΥΣ ἄνδρα μοι ἔννεπε, Μοῦσα · 漢字かな交じり文。",
    "",
    "mill",
    "a\u00a0b\u200bc\u2028d\te\nf ½ ² १२३ हिन्दी 😀😀",
]


def main():
    with tempfile.TemporaryDirectory() as work, contextlib.redirect_stderr(io.StringIO()):
        paths = []
        for name, texts in (("raw", RAW), ("target", TARGET)):
            path = Path(work, name)
            path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
            paths.append(str(path))
        dsir = HashedNgramDSIR([paths[0]], [paths[1]], cache_dir=work, num_proc=1)
        dsir.fit_importance_estimator(num_tokens_to_fit="all")
        features = [dsir.featurizer(t) for t in RAW]
    json.dump(
        {
            "package": f"data-selection {version('data-selection')}, nltk {version('nltk')}",
            "target": TARGET,
            "raw": RAW,
            "ngrams": [int(f.sum()) for f in features],
            "log_weights": [float(dsir.importance_estimator(f)) for f in features],
            "log_ratio_norm": float(np.linalg.norm(dsir.log_diff)),
        },
        sys.stdout,
        indent=1,
        ensure_ascii=False,
    )
    print()


if __name__ == "__main__":
    main()
