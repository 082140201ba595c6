"""Score drift: how far the scores of late lie from those that the bundle was calibrated on.

The population stability index (N. Siddiqi, Credit Risk Scorecards, 2006): the sum over bins of
(seen - expected) * ln(seen / expected). Rules of thumb: under 0.1 stable, over 0.25 shifted.
"""

import itertools
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Sequence

from models.spec import Manifest
from stream.errors import ConfigError

REFERENCE = "reference_scores"  # in the manifest's metrics
WINDOW = 2000  # latest scores that are looked at
FEWEST = 500  # below this the index is mostly noise: about 9 / n is expected of equal distributions
_FLOOR = 0.0005  # share of an empty bin, so that one bin cannot make the index infinite


class Drift:
    """Counts the latest scores by the bins between the reference's deciles."""

    def __init__(self, deciles: Sequence[float]) -> None:
        """`deciles`: the 10 quantiles at 10 %, 20 %, ... 100 % of fused scores on held-out photographs.

        Raises ValueError where they are not 10 ascending numbers.
        """
        if len(deciles) != 10 or sorted(deciles) != list(deciles):
            raise ValueError(f"{REFERENCE} must be 10 ascending deciles, not {list(deciles)}")
        # Scores may saturate, so deciles may coincide: their bins are one bin with all of their shares.
        reached = {edge: (number + 1) / 10 for number, edge in enumerate(deciles)}
        *self._edges, _ = reached
        ends = [0.0, *reached.values()]
        self._expected = [end - start for start, end in itertools.pairwise(ends)]
        self._counts = [0] * len(self._expected)
        self._latest: deque[int] = deque()

    def add(self, score: float) -> None:
        """Take one score in; the oldest beyond the window goes."""
        number = bisect_left(self._edges, score)
        self._latest.append(number)
        self._counts[number] += 1
        if len(self._latest) > WINDOW:
            self._counts[self._latest.popleft()] -= 1

    @property
    def value(self) -> float | None:
        """The index; None while too few scores were seen."""
        seen = len(self._latest)
        if seen < FEWEST:
            return None
        shares = [max(count / seen, _FLOOR) for count in self._counts]
        return sum((a - b) * math.log(a / b) for a, b in zip(shares, self._expected, strict=True))


def reference_of(manifest: Manifest) -> Drift | None:
    """The drift from a bundle's reference, none counted yet; None where it has no reference.

    Raises ConfigError where the reference is not what Drift takes.
    """
    if REFERENCE not in manifest.metrics:
        return None
    try:
        return Drift(manifest.metrics[REFERENCE])
    except (TypeError, ValueError) as error:
        raise ConfigError(f"bundle {manifest.name}: {error}") from error
