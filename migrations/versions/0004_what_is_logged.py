"""what is logged: the order in which sealed recordings came under checkpoints

Revision ID: 1.3
Revises: 1.2

It only adds, so writers at 1.2 go on writing: what they seal is logged with the next checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "1.3"
down_revision: str | None = "1.2"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_REFUSAL = "recorder: facts are append-only"
_REFUSE = "EXECUTE FUNCTION recorder_no_truncate()"
_TRIGGERS = {
    "sqlite": (
        f"CREATE TRIGGER logged_no_update BEFORE UPDATE ON logged BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
        f"CREATE TRIGGER logged_no_delete BEFORE DELETE ON logged BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    ),
    "postgresql": (
        f"CREATE TRIGGER logged_append_only BEFORE UPDATE OR DELETE ON logged FOR EACH ROW {_REFUSE}",
        f"CREATE TRIGGER logged_no_truncate BEFORE TRUNCATE ON logged FOR EACH STATEMENT {_REFUSE}",
    ),
}


def upgrade() -> None:
    """Make the table, its index, and the triggers that keep it append-only."""
    backend = op.get_bind().dialect.name
    key = sa.Uuid() if backend == "postgresql" else sa.LargeBinary(16)
    op.create_table(
        "logged",
        sa.Column("recording_id", key, nullable=False),
        sa.Column("batch", sa.BigInteger(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("recording_id", name="logged_pkey"),
    )
    op.create_index("logged_order", "logged", ["batch", "recording_id"])
    for statement in _TRIGGERS[backend]:
        op.execute(statement)
