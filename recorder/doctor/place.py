"""A SQLite store's files from outside: on what they lie, who may touch them, how much room there is, what was left.

Only names and sizes are looked at. No file is opened.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from recorder import config
from recorder.config import size_text

from .findings import Finding, fault, note, ok, warning

__all__ = ["Mount", "beside", "file_system", "files", "judge", "link", "mount_of", "room"]

#: Across a network locks and shared memory do not work as SQLite's WAL needs them (sqlite.org/wal.html).
_REMOTE: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "drvfs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "glusterfs", "lustre"}
    | {"ncpfs", "nfs", "nfs4", "prl_fs", "smb3", "smbfs", "vboxsf", "vmhgfs"}
)
_IN_MEMORY: Final = frozenset({"devtmpfs", "ramfs", "tmpfs"})
_LAYERED: Final = frozenset({"aufs", "overlay"})
_READ_ONLY: Final = frozenset({"iso9660", "squashfs"})


class Mount(NamedTuple):
    """Where a file system is mounted, of which kind it is, and whether it takes no writes."""

    point: str
    kind: str
    read_only: bool


def beside(path: Path, ending: str) -> Path:
    """The file of the store with this ending."""
    return path.with_name(path.name + ending)


# -- on what it lies ---------------------------------------------------------------------------------------------------


def file_system(folder: Path) -> Iterator[Finding]:
    """Whether the file system is one for a store."""
    try:
        told = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        yield note("file system", f"not known on {sys.platform}", "see that the store is on a local disk")
        return
    mount = mount_of(folder.resolve(), told)
    if mount is None:
        yield note("file system", "not known", "see that the store is on a local disk")
    else:
        yield judge(mount)


def mount_of(folder: Path, told: str) -> Mount | None:
    """The mount that a folder is in, by the lines of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    found: Mount | None = None
    for line in told.splitlines():
        before, _, behind = line.partition(" - ")
        fields, kind = before.split(" "), behind.split(" ")[0]
        if len(fields) < 6:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        # Of several at one place the last covers the others.
        if folder.is_relative_to(point) and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kind, "ro" in fields[5].split(",") or "ro" in behind.split(" ")[-1].split(","))
    return found


def judge(mount: Mount) -> Finding:
    """What a mount is good for."""
    said = f"{mount.kind} at {mount.point}"
    if mount.kind in _REMOTE:
        return fault(
            "file system",
            f"{said}: SQLite's locks and shared memory do not hold across a network",
            "put the store on a local disk, or use PostgreSQL",
        )
    if mount.read_only or mount.kind in _READ_ONLY:
        return fault(
            "file system",
            f"{said} takes no writes: nothing can be recorded",
            "mount it writable, or name another place",
        )
    if mount.kind in _IN_MEMORY:
        return warning("file system", f"{said} is memory: the store is gone with the next start", "put it on a disk")
    if mount.kind in _LAYERED:
        return note("file system", f"{said} goes with its container", "put the store on a volume if it is to stay")
    if mount.kind.startswith("fuse"):
        return warning("file system", f"{said}: whether it locks is up to its driver", "put the store on a local disk")
    return ok("file system", said)


def link(path: Path) -> Finding:
    """What a symbolic link in place of the store leads to."""
    target = os.path.realpath(path)  # `resolve` raises where links go in a circle
    if os.path.exists(target):  # noqa: PTH110 (the same)
        return note("links", f"{path} is a symbolic link to {target}, whose own name recorder uses", None)
    return fault("links", f"{path} is a symbolic link that leads nowhere", "name the file itself, or mend the link")


# -- who may touch it --------------------------------------------------------------------------------------------------


def files(path: Path) -> Iterator[Finding]:
    """The store's files and folder: links, owners, modes, what was left behind."""
    yield from _links(path)
    found = [*_unsafe(path)]
    yield from found
    if not found:
        yield ok("permissions", f"{path.name} and what lies beside it is its owner's alone")
    yield from _left_behind(path)


def _links(path: Path) -> Iterator[Finding]:
    status = path.lstat()
    if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
        yield fault(
            "links",
            f"{path} has {status.st_nlink} hard links: a crash is recovered under one name only",
            "keep one name of it (sqlite.org/howtocorrupt.html, 2.4)",
        )


def _unsafe(path: Path) -> Iterator[Finding]:
    if os.name != "posix":
        yield note("permissions", f"not looked at on {os.name}", None)
        return
    for each in _own(path):
        try:
            status = each.stat()
        except OSError:  # gone meanwhile
            continue
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 and (stat.S_ISREG(status.st_mode) or each != path):  # a device is not the store's to change
            who = "written" if mode & 0o022 else "read"
            right = "700" if each.is_dir() else "600"
            yield warning(
                "permissions", f"{each} can be {who} by others (mode {mode:04o})", f"chmod {right} {_quoted(each)}"
            )
        if status.st_uid != os.geteuid():
            yield _not_ours(each, status.st_uid)
        elif not os.access(each, os.R_OK | os.W_OK):
            yield fault(
                "permissions",
                f"{each} cannot be read and written (mode {mode:04o}): nothing can be recorded",
                f"chmod u+rw {_quoted(each)}",
            )
    if path.parent.is_dir() and not os.access(path.parent, os.W_OK | os.X_OK):
        yield fault(
            "permissions",
            f"{path.parent} takes no files of this user: nothing can be recorded",
            f"chmod u+rwx {_quoted(path.parent)}, or run recorder as its owner",
        )
    yield from _open_folders(path.parent)


def _not_ours(path: Path, owner: int) -> Finding:
    if os.geteuid() == 0:
        return note("permissions", f"{path} belongs to user {owner}, and this is root", "run recorder as its owner")
    if os.access(path, os.R_OK | os.W_OK):
        return warning("permissions", f"{path} belongs to user {owner}", "run recorder as its owner alone")
    right = "written" if os.access(path, os.R_OK) else "read"
    return fault("permissions", f"{path} belongs to user {owner} and cannot be {right}", "run recorder as its owner")


def _own(path: Path) -> Iterator[Path]:
    """The files and folders that the store made, as far as they are there."""
    yield path
    for each in sorted(path.parent.glob(f"{_literal(path.name)}*")):
        if each != path and each.name[len(path.name)] in "-.":
            yield each
    if path.parent.name == ".recorder":
        yield path.parent


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _open_folders(folder: Path) -> Iterator[Finding]:
    """Folders in which anybody could put another file in the store's place."""
    for each in (folder.resolve(), *folder.resolve().parents):
        mode = stat.S_IMODE(each.stat().st_mode)
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield fault(
                "permissions",
                f"{each} can be written by anybody (mode {mode:04o}): the store can be exchanged there",
                f"chmod o-w {_quoted(each)}, or move the store",
            )


def _quoted(path: Path) -> str:
    text = str(path)
    return text if re.fullmatch(r"[\w./+-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def _left_behind(path: Path) -> Iterator[Finding]:
    backups = sorted(path.parent.glob(f"{_literal(path.name)}.backup-*"))
    if backups:
        total = size_text(sum(each.stat().st_size for each in backups))
        yield note(
            "backups",
            f"{len(backups)} from before an upgrade, {total}: they hold what was in the store then, also what was "
            "erased since",
            f"delete them once the upgrade has proved itself: rm {' '.join(map(_quoted, backups))}",
        )
    if beside(path, "-journal").exists():
        yield warning(
            "journal",
            f"{path.name}-journal is there: another program has written to the store in another journal mode",
            "let recorder alone write to it; `recorder verify` tells whether the record holds",
        )


# -- room --------------------------------------------------------------------------------------------------------------


def room(path: Path, floor: int | None = None) -> Iterator[Finding]:
    """Free space against the floor (bytes) at which recording stops, and the store's own size."""
    usage = shutil.disk_usage(path.parent)
    least = config.least_free(floor, usage.total)
    said = f"{size_text(usage.free)} free of {size_text(usage.total)}"
    if usage.free < least:
        yield fault(
            "disk",
            f"{said}, below {size_text(least)}: recording stops",
            "make room, or `recorder prune` (see docs/retention.md)",
        )
    elif usage.free < 2 * least:
        yield warning("disk", f"{said}; recording stops below {size_text(least)}", "make room soon")
    else:
        yield ok("disk", f"{said}; recording stops below {size_text(least)}")
    if not path.exists():
        return
    total = sum(each.stat().st_size for each in (path, beside(path, "-wal")) if each.exists())
    if total > config.LARGE:
        yield note(
            "size",
            f"the store has {size_text(total)}",
            "`recorder prune --older-than 30d --dry-run` tells what could go",
        )
    else:
        yield ok("size", f"the store has {size_text(total)}")
