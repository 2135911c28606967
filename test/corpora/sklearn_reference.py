"""Precision of scikit-learn's logistic regression on the labelled pool, as a fixture for the tests.

    pip install scikit-learn
    node test/corpora/prepare.mjs
    python test/corpora/sklearn_reference.py [DIR] > test/corpora/sklearn_reference.json

For each kind of text: target sample against pool as a classifier. The features are word unigrams and bigrams, hashed
into 2^20 buckets, as counts times smoothed inverse document frequency, each document of length one; the words are
those of the normaliser wordpunct/1 (`\\w+|[^\\w\\s]+` of the lower-cased text), so that Gristmill can be given the very
same ones. Classes are balanced. Given is the precision among as many best documents as are relevant, for counts as they
are and as 1 + ln(count) (`sublinear_tf`), for two strengths of the regularisation, and for two solvers: `lbfgs`, which
leaves the intercept free, and `liblinear`, which does not.

A second part is small enough for a test to hold everything: the coefficients of liblinear on 40 sparse rows.
"""

import gzip
import json
import platform
import sys
from pathlib import Path

import numpy as np
import scipy.sparse
import sklearn
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

STRENGTHS = {"c0.1": 0.1, "c1": 1.0, "c10": 10.0}
VARIANTS = [
    ("raw lbfgs c1", False, "lbfgs", 1.0),
    ("raw liblinear c1", False, "liblinear", 1.0),
    ("raw liblinear c10", False, "liblinear", 10.0),
    ("sublinear lbfgs c1", True, "lbfgs", 1.0),
    ("sublinear liblinear c1", True, "liblinear", 1.0),
    ("sublinear liblinear c10", True, "liblinear", 10.0),
]


def read(path):
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def precision(scores, labels, kind):
    relevant = int((labels == kind).sum())
    top = np.argsort(-scores, kind="stable")[:relevant]
    return round(float((labels[top] == kind).mean()), 4)


def classifier(c, solver):
    return LogisticRegression(C=c, class_weight="balanced", solver=solver, max_iter=1000, tol=1e-6)


def small():
    """Rows of a few features, half of which say something about the label."""
    rng = np.random.default_rng(7)
    x = scipy.sparse.random(40, 12, density=0.4, random_state=rng, data_rvs=lambda n: rng.uniform(0.1, 1.5, n)).toarray()
    x = np.round(x, 3)
    y = (x[:, :6].sum(1) - x[:, 6:].sum(1) + rng.normal(0, 0.7, 40) > 0.6).astype(int)
    fits = {}
    for name, c in STRENGTHS.items():
        model = LogisticRegression(
            C=c, class_weight="balanced", solver="liblinear", tol=1e-10, max_iter=100_000, intercept_scaling=1.0
        ).fit(x, y)
        fits[name] = {"coefficients": model.coef_[0].tolist(), "intercept": float(model.intercept_[0])}
    return {"rows": x.tolist(), "labels": y.tolist(), "fits": fits}


def main(directory):
    manifest = json.loads((directory / "manifest.json").read_text())
    pool = [d for path in sorted((directory / "pool").glob("*.gz")) for d in read(path)]
    labels = np.array([d["label"] for d in pool])
    hashing = HashingVectorizer(
        ngram_range=(1, 2), n_features=2**20, alternate_sign=False, norm=None, token_pattern=r"\w+|[^\w\s]+"
    )
    raw = hashing.transform(d["text"] for d in pool)
    kinds = {}
    for path in sorted((directory / "target").glob("*.gz")):
        kind = path.name.split(".")[0]
        sample = hashing.transform(d["text"] for d in read(path))
        y = np.r_[np.ones(sample.shape[0]), np.zeros(raw.shape[0])]
        kinds[kind] = {"random": round(float((labels == kind).mean()), 4)}
        for name, sublinear, solver, c in VARIANTS:
            x = TfidfTransformer(sublinear_tf=sublinear).fit_transform(scipy.sparse.vstack([sample, raw]))
            scores = classifier(c, solver).fit(x, y).decision_function(x[sample.shape[0] :])
            kinds[kind][name] = precision(scores, labels, kind)
    names = [name for name, *_ in VARIANTS]
    average = {name: round(float(np.mean([k[name] for k in kinds.values()])), 4) for name in names}
    fixture = {
        "package": f"scikit-learn {sklearn.__version__}, numpy {np.__version__}",
        "python": platform.python_version(),
        "corpora": manifest["content"],
        "kinds": kinds,
        "average": average,
        "small": small(),
    }
    print(json.dumps(fixture, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent / "build"))
