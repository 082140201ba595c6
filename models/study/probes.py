"""The baselines: logistic regression on frozen features, and on what a file tells without a look inside."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.evaluation.facts import file_facts
from models.layouts import Picture
from models.metrics import auc

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # inverse L2 strengths; the validation pictures choose

Rows = NDArray[np.floating]
Labels = NDArray[np.int64]


class Line:
    """A fitted linear classifier: rows [N, F] -> logits [N]."""

    def __init__(self, scaler: StandardScaler, model: LogisticRegression) -> None:
        self._scaler, self._model = scaler, model

    def __call__(self, rows: Rows) -> NDArray[np.float64]:
        return np.asarray(self._model.decision_function(self._scaler.transform(rows)), dtype=np.float64)


def fit_probe(train: Rows, labels: Labels, validation: Rows, truth: Labels) -> Line:
    """Standardised features, classes weighed alike; the L2 strength with the best validation AUC."""
    scaler = StandardScaler().fit(train)
    scaled = scaler.transform(train)
    best, line = -1.0, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=300).fit(scaled, labels)
        tried = Line(scaler, model)
        logits = tried(validation)
        reached = auc(logits[truth == 0], logits[truth == 1])
        if reached > best:
            best, line = reached, tried
    assert line is not None
    return line


def facts(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Short side, aspect ratio and bytes a pixel of each file, [N, 3]. One size leaves the last alone."""
    found = file_facts(pictures)
    return np.stack([found[name] for name in ("short_side", "aspect", "bytes_per_pixel")], axis=1)
