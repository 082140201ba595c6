"""`--hold-out NAME` of the commands: a family, a generator or a source of real photographs."""

from collections.abc import Sequence

from models.data import Holdout
from models.synthesis.registry import FAMILIES


def parse_holdout(names: Sequence[str]) -> Holdout:
    """Known families and generators by name; every other name is a source."""
    families = frozenset(name for name in names if name in FAMILIES.values())
    generators = frozenset(name for name in names if name in FAMILIES)
    return Holdout(families, generators, frozenset(names) - families - generators)
