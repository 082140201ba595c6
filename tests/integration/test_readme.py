"""What the README tells a newcomer to type."""

import re
from pathlib import Path

from stream.embedded import Postgres

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_its_sql_runs_in_psql(postgres: Postgres, database_url: str, unique: str) -> None:
    """On an empty schema: a misspelt column or view is an error all the same."""
    assert database_url
    (block,) = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)
    assert block.count(";") == 4
    assert postgres.query(block, unique) == ""


def test_its_links_lead_somewhere() -> None:
    root = Path(__file__).resolve().parents[2]
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (root / link).exists()] == []
