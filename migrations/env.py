"""How alembic runs the migrations: on a connection that it is given, inside the transaction that the caller began.

`recorder.migrate` gives the connection. On a developer's command line (`alembic revision`) there is none: then
`-x url=postgresql+psycopg://…` or `-x url=sqlite:///…` names a database, which must not be a store in use.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine

from recorder import migrate, schema


def run(connection: Connection) -> None:
    """Run what is asked for; foreign keys, batches and the like do not come into it."""
    options: dict[str, Any] = {"version_table": migrate.VERSION_TABLE, "compare_type": True}
    context.configure(connection=connection, target_metadata=schema.metadata, **options)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with create_engine(context.get_x_argument(as_dictionary=True)["url"]).begin() as own:
        run(own)
