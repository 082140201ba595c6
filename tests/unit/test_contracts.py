"""The published contracts say what the code does."""

from pathlib import Path

import pytest

from stream import contracts
from stream.reasons import Reason

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(contracts.documents()))
def test_generated_document_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == contracts.documents()[name], (
        "run `python -m stream.contracts` and commit docs/"
    )


def test_every_reason_is_documented() -> None:
    page = contracts.reasons_page()
    assert [reason for reason in Reason if f"`{reason}`: " not in page] == []
