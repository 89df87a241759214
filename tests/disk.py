"""What a program did to the files of one folder, and what a power failure at any moment would have left of them.

`tests/shim/disk.c`, loaded before the C library, writes down each operation of a process; `Disk` does them over again,
one by one, and knows of each file what is on the disk for certain (it was synced) and what may be: each 512-byte sector
written since then may have come or not. Names (made, removed, renamed) come later than the bytes, by one of two
rules: ORDERED, as with ext4, where any sync also commits all the names before it and what is left of them comes in
order; BARE, as POSIX has it, where only a folder's own sync commits its names, and each comes or not by itself.

A sync that fails leaves the kernel's pages clean, and nothing of them on the disk ("fsyncgate", PostgreSQL, 2018): what
such a page held comes to the disk only when somebody writes to it again.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tests.needs import ROOT, need

__all__ = [
    "BARE",
    "MARK",
    "OPERATIONS",
    "ORDERED",
    "SYNC",
    "Disk",
    "Operation",
    "environment",
    "loaded",
    "operations",
    "ram",
    "shim",
]

CREATE, WRITE, TRUNCATE, SYNC, UNLINK, RENAME, MKDIR, RMDIR, MARK, OPEN, READ = range(1, 12)
#: What may be let fail, by name.
OPERATIONS: Final = {
    "create": CREATE,
    "write": WRITE,
    "truncate": TRUNCATE,
    "sync": SYNC,
    "unlink": UNLINK,
    "rename": RENAME,
    "mkdir": MKDIR,
    "open": OPEN,
    "read": READ,
}

ORDERED, BARE = "ordered", "bare"

SECTOR: Final = 512
PAGE: Final = 4096
_HEAD: Final = struct.Struct("<BBHIQQ")


def shim(folder: Path) -> Path:
    """The library, compiled into the folder; a skip where there is no compiler, or no Linux."""
    need("cc", sys.platform == "linux" and shutil.which("cc") is not None, "no C compiler (cc) on Linux")
    library = folder / "disk.so"
    source = ROOT / "tests" / "shim" / "disk.c"
    command = [
        "cc",
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        "-o",
        str(library),
        str(source),
        "-ldl",
        "-lpthread",
    ]
    subprocess.run(command, check=True)
    return library


def environment(library: Path, root: Path, log: Path | None = None) -> dict[str, str]:
    """The environment of a process whose doings below `root` are watched, and written down in `log`."""
    watched = {"LD_PRELOAD": str(library), "DISK_ROOT": str(root), "PYTHONPATH": str(ROOT)}
    return {**os.environ, **watched, **({} if log is None else {"DISK_LOG": str(log)})}


def loaded() -> ctypes.CDLL:
    """The library, in a process that runs under it."""
    library = ctypes.CDLL(None)
    library.disk_hits.restype = library.disk_count.restype = ctypes.c_long
    library.disk_fail.argtypes = [ctypes.c_uint, ctypes.c_long, ctypes.c_long, ctypes.c_int]
    library.disk_mark.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library


def ram(default: Path) -> Path:
    """A folder where syncing costs nothing: what it means is worked out here, not waited for."""
    memory = Path("/dev/shm")
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 256 << 20
    return (memory if roomy else default).resolve()


class Operation(NamedTuple):
    """One record of the log; `name` is relative to the folder, `to` the second one of a rename."""

    what: int
    failed: bool
    inode: int
    at: int
    name: str
    to: str
    data: bytes


def operations(log: Path, root: Path) -> Iterator[Operation]:
    """What the log says, in order."""
    data = log.read_bytes()
    at = 0
    while at < len(data):
        what, failed, named, size, inode, where = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        name, _, to = data[at : at + named].decode().partition("\0")
        at += named
        yield Operation(what, bool(failed), inode, where, _below(name, root), _below(to, root), data[at : at + size])
        at += size


def _below(name: str, root: Path) -> str:
    return Path(name).relative_to(root).as_posix() if name else ""


class _Write(NamedTuple):
    """Bytes that are to come to the disk; where `data` is None, the file's new length."""

    at: int
    data: bytes | None


@dataclass
class _File:
    """One file: what a program reads, what is on the disk for certain, and what may be."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)
    #: Pages that are clean for the kernel and not on the disk.
    stale: set[int] = field(default_factory=set)

    def write(self, at: int, data: bytes) -> None:
        _put(self.seen, at, data)
        if not self.stale.isdisjoint(range(at // PAGE, (at + len(data) - 1) // PAGE + 1)):
            # A page is written whole: with it comes what an earlier sync had dropped.
            start, stop = at // PAGE * PAGE, -(-(at + len(data)) // PAGE) * PAGE
            at, data = start, bytes(self.seen[start:stop])
            self.stale.difference_update(range(start // PAGE, stop // PAGE))
        self.pending.append(_Write(at, data))

    def truncate(self, size: int) -> None:
        _resize(self.seen, size)
        self.pending.append(_Write(size, None))

    def sync(self) -> None:
        for write in self.pending:
            _apply(self.safe, write)
        self.pending.clear()

    def drop(self) -> None:
        """The sync failed."""
        for write in self.pending:
            if write.data is not None:
                self.stale.update(range(write.at // PAGE, (write.at + len(write.data) - 1) // PAGE + 1))
        self.pending.clear()

    def survivor(self, rng: random.Random) -> bytes:
        """What may be found after the power failed: pending writes came, came not, or came in part."""
        left = bytearray(self.safe)
        how = rng.choice(["none", "all", "first", "some", "sectors", "sectors"])
        first = rng.randint(0, len(self.pending))
        for number, write in enumerate(self.pending):
            if how == "all" or (how == "first" and number < first) or (how == "some" and rng.random() < 0.5):
                _apply(left, write)
            elif how == "sectors":
                for part in _sectors(write):
                    if rng.random() < 0.5:
                        _apply(left, part)
        return bytes(left)


def _put(content: bytearray, at: int, data: bytes) -> None:
    if at > len(content):
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _apply(content: bytearray, write: _Write) -> None:
    if write.data is None:
        _resize(content, write.at)
    else:
        _put(content, write.at, write.data)


def _sectors(write: _Write) -> Iterator[_Write]:
    if write.data is None:
        yield write
        return
    start, stop = write.at, write.at + len(write.data)
    while start < stop:
        end = min((start // SECTOR + 1) * SECTOR, stop)
        yield _Write(start, write.data[start - write.at : end - write.at])
        start = end


class _Naming(NamedTuple):
    """A change of names that may not have come to the disk yet: what each of these names then stands for."""

    gives: Mapping[str, _File | None]


class Disk:
    """The folder on a disk, operation by operation. `deaf`: a disk on which syncing does nothing."""

    def __init__(self, before: Path, root: Path, rule: str = ORDERED, *, deaf: bool = False) -> None:
        """What lay in the folder `root` before is there for certain; `before` is a copy of it."""
        self.rule = rule
        self.deaf = deaf
        self._files: dict[str, _File] = {}
        self._inodes: dict[int, _File] = {}
        self._folders: dict[int, str] = {root.stat().st_ino: ""}
        for path in before.rglob("*"):
            name = path.relative_to(before).as_posix()
            if path.is_file():
                content = path.read_bytes()
                self._files[name] = _File(bytearray(content), bytearray(content))
        #: Names as they are on the disk for certain, and the changes to come.
        self._safe: dict[str, _File] = dict(self._files)
        self._pending: list[_Naming] = []

    def do(self, operation: Operation) -> None:
        """One operation more. Marks are none."""
        what = operation.what
        if what == CREATE:
            made = self._inodes[operation.inode] = _File()
            self._name({operation.name: made})
        elif what == OPEN:
            self._inodes[operation.inode] = self._files[operation.name]
        elif what == UNLINK:
            self._name({operation.name: None})
        elif what == RENAME:
            self._name({operation.name: None, operation.to: self._files[operation.name]})
        elif what == WRITE:
            self._inodes[operation.inode].write(operation.at, operation.data)
        elif what == TRUNCATE:
            self._inodes[operation.inode].truncate(operation.at)
        elif what == MKDIR:
            self._folders[operation.inode] = operation.name
        elif what == SYNC and not self.deaf:
            self._sync(operation)

    def _name(self, gives: Mapping[str, _File | None]) -> None:
        _rename(self._files, gives)
        self._pending.append(_Naming(gives))

    def _sync(self, operation: Operation) -> None:
        folder = self._folders.get(operation.inode)
        if folder is None:
            file = self._inodes[operation.inode]
            file.drop() if operation.failed else file.sync()
        if operation.failed:
            return
        left = []
        for naming in self._pending:
            inside = folder is not None and any(name.rpartition("/")[0] == folder for name in naming.gives)
            if self.rule == ORDERED or inside:
                _rename(self._safe, naming.gives)
            else:
                left.append(naming)
        self._pending = left

    def crash(self, into: Path, rng: random.Random) -> None:
        """Puts into an empty folder what may be found there after the power failed now."""
        names = dict(self._safe)
        first = rng.randint(0, len(self._pending))
        lost: set[str] = set()
        for number, naming in enumerate(self._pending):
            comes = number < first if self.rule == ORDERED else rng.random() < 0.5
            # Of one name, a later change does not come before an earlier one.
            if comes and lost.isdisjoint(naming.gives):
                _rename(names, naming.gives)
            else:
                lost.update(naming.gives)
        for name, file in names.items():
            path = into / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What was mapped into memory was never synced: anything may be left of it.
            path.write_bytes(rng.randbytes(32768) if name.endswith("-shm") else file.survivor(rng))


def _rename(names: dict[str, _File], gives: Mapping[str, _File | None]) -> None:
    for name, file in gives.items():
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file
