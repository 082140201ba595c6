"""The benchmark itself, small: it fills, asks, stores, makes and drops months, and writes its page."""

import subprocess
import sys
from pathlib import Path

import orjson
import psycopg
import pytest

from tests.bench_sql.report import END, START


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "history.md"
    file.write_text(f"before\n{START}\nof an earlier run\n{END}\nafter\n", "utf-8")
    return file


def test_a_small_history(bare_database_url: str, page: Path) -> None:
    sizes = ("--rows", "5000", "--months", "3", "--runs", "1", "--seconds", "0.5")
    where = ("--database", bare_database_url, "--write", str(page), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench_sql", *sizes, *where], capture_output=True, check=True
    )
    report = orjson.loads(done.stdout)
    assert len(report["questions"]) == 8
    assert report["inserts"]["rows"] > 0
    text = page.read_text("utf-8")
    assert text.startswith(f"before\n{START}\n")
    assert text.endswith(f"{END}\nafter\n")
    assert "of an earlier run" not in text
    assert "drop the next month, a whole one" in text
    with psycopg.connect(bare_database_url) as connection:
        kept = connection.execute(
            "SELECT min(uploaded_at) > now() - interval '2 months' FROM verdicts"
        ).fetchone()
        flagged = connection.execute(
            "SELECT avg((verdict IN ('suspicious', 'synthetic'))::int) FROM verdicts WHERE uri LIKE 's3://tenant%'"
        ).fetchone()
    assert kept == (True,)
    assert flagged is not None
    assert float(flagged[0]) == pytest.approx(0.02, abs=0.01)
