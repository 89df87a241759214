"""A process that is killed at a step of an upgrade, each step in turn: what is there is the old store or the new one.

Run as a program (`python -m tests.killed URL SEED TAKE REVISION ...`); the URL is a SQLite path ending in `.db` that is
free, or a PostgreSQL server's. A step is a statement that is sent, or a commit. Each try forks a child that upgrades a
fresh copy of the older store and is killed with SIGKILL when it comes to step N. TAKE is how many steps of each
revision are taken; 0 takes all. Prints one JSON line of figures, or fails with what was wrong.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, select
from sqlalchemy.pool import NullPool

from recorder import schema
from recorder.store import Store, check_store, describe_store, migrate_store
from recorder.verify import verify
from tests.faulted import forked, killed_at, say, statements
from tests.kept import clear
from tests.older import make_older

FACTS = ("recordings", "events", "endings", "tags")


def before(url: str) -> dict[str, Any]:
    """All that the database says of its schema, and the rows of facts."""
    with connected(url) as connection:
        seen = inspect(connection)
        tables = {
            name: (
                [column["name"] for column in seen.get_columns(name)],
                sorted(str(index["name"]) for index in seen.get_indexes(name)),
            )
            for name in seen.get_table_names()
        }
        names = sorted(seen.get_view_names())
        return {"tables": tables, "views": names, "rows": rows(connection)}


def rows(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """The rows of facts."""
    return {
        name: sorted((tuple(row) for row in connection.execute(select(schema.metadata.tables[name]))), key=repr)
        for name in FACTS
    }


@contextlib.contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection that knows nothing of recorder."""
    given = url.replace("postgresql://", "postgresql+psycopg://") if "://" in url else f"sqlite:///{url}"
    with create_engine(given, poolclass=NullPool).connect() as connection:
        yield connection


class Places:
    """Fresh copies of older stores, one for each try."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.numbers = itertools.count()

    def make(self, revision: str) -> str:
        """A store of that revision, to be copied."""
        name = f"older_{revision.replace('.', '_')}"
        return self._made(name, None, revision)

    def copy(self, model: str) -> str:
        """A copy of it."""
        return self._made(f"try_{next(self.numbers)}", model, None)

    def drop(self, url: str) -> None:
        """Remove a copy."""
        if "://" in url:
            say(self.url, f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')
            return
        clear(Path(url))

    def _made(self, name: str, model: str | None, revision: str | None) -> str:
        if "://" in self.url:
            made = f"{self.url.rpartition('/')[0]}/{name}"
            template = "" if model is None else f' TEMPLATE "{model.rpartition("/")[2]}"'
            say(self.url, f'CREATE DATABASE "{name}"{template}')
        else:
            made = str(Path(self.url).with_name(f"{name}.db"))
            if model is not None:
                shutil.copyfile(model, made)
        if revision is not None:
            make_older(made, revision)
        return made


def hold(url: str, revision: str, was: dict[str, Any]) -> str:
    """The store is as it was, or the new one; then it is brought to the end. Gives the revision that was found."""
    found = describe_store(url).revision
    if found == revision:
        assert before(url) == was, "the schema or the rows are not those of before"
    else:
        assert found == schema.REVISION, f"the schema is {found}"
        assert check_store(url) == [], "the schema is not whole"
    migrate_store(url)
    assert check_store(url) == []
    with connected(url) as connection:
        assert rows(connection) == was["rows"], "rows of facts have changed"
    with Store.open(url) as store:
        summary = verify(store, lambda _: None)
        assert summary.found == 0
        assert summary.recordings == len(was["rows"]["recordings"])
    return str(found)


def main(url: str, seed: str, take: int, revisions: Sequence[str]) -> dict[str, Any]:
    """Kill an upgrade from each revision at each step; the figures."""
    places = Places(url)
    random_ = random.Random(seed)
    figures: dict[str, Any] = {"kills": 0, "steps": {}, "old": 0, "new": 0}
    for revision in revisions:
        model = places.make(revision)
        was = before(model)
        whole = places.copy(model)
        steps = forked(partial(statements, partial(migrate_store, whole)))
        hold(whole, revision, was)
        places.drop(whole)
        figures["steps"][revision] = steps
        for step in sorted(random_.sample(range(1, steps + 1), min(take or steps, steps))):
            place = places.copy(model)
            killed_at(partial(migrate_store, place), step)
            found = hold(place, revision, was)
            figures["kills"] += 1
            figures["old" if found == revision else "new"] += 1
            places.drop(place)
        places.drop(model)
    return figures


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])))  # noqa: T201
