"""what has changed: when anything about a recording was last written, so that copies can follow the store

Revision ID: 1.2
Revises: 1.1

It only adds, so writers at 1.1 go on writing. Their rows have NULL, which means: not known.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "1.2"
down_revision: str | None = "1.1"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Add the column and its index. Until something is written of it, a recording changed when it was read."""
    op.add_column("readings", sa.Column("changed_at", sa.BigInteger()))
    op.execute("UPDATE readings SET changed_at = read_at")
    op.create_index("readings_changed", "readings", ["changed_at", "started_at"])
