"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

A migration is written out and imports nothing from recorder: it must still do the same when the code has moved on.
It runs inside one transaction, on SQLite and on PostgreSQL. With the same major number it only adds, so that older
recorders can go on writing to the store; it never reads or changes facts. There is no downgrade.
"""

from __future__ import annotations

from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """${message}."""
    ${upgrades if upgrades else "raise NotImplementedError"}
