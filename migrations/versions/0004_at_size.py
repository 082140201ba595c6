"""Daily counts, and a review queue that reads no more than it shows. The SQL: the file beside it."""

from pathlib import Path
from typing import Any

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    # Through the driver itself: one script, in which a colon or a per cent sign is only that.
    driver: Any = op.get_bind().connection.driver_connection
    driver.execute(Path(__file__).with_suffix(".sql").read_text("utf-8"))
