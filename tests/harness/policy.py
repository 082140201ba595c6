"""A policy under which some tenants' pictures are flagged whatever their score, and others' never.

The bundle of the tests has random weights: no threshold on its scores means anything.
"""

import json
from pathlib import Path

from tests.harness.traffic import LENIENT, STRICT


def write_policy(folder: Path) -> Path:
    """The policy file."""
    file = folder / "policy.json"
    document = {
        "schema": "pixassay.policy/1",
        "name": "tests",
        "basis": "none: random weights",
        "suspicious": 1.0,
        "synthetic": 1.0,
        "tenants": {
            STRICT: {"suspicious": 0.0, "synthetic": 0.5},
            LENIENT: {"suspicious": 1.0, "synthetic": 1.0},
        },
    }
    file.write_text(json.dumps(document), encoding="utf-8")
    return file
