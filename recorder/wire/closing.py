"""Ending a connection the way another one ended: with a FIN, or with a RST at exactly the same byte."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from typing import Final

__all__ = ["reset", "shut"]

#: Seconds between two looks whether the peer's kernel has everything; the first, and the longest.
_LOOK: Final = (0.0005, 0.05)

_LINGER_NONE: Final = struct.pack("ii", 1, 0)


def shut(transport: asyncio.WriteTransport) -> bool:
    """Send a FIN behind everything that was written, and go on reading. False where that closes the connection."""
    if transport.is_closing():
        return False
    if transport.can_write_eof():
        with contextlib.suppress(OSError, RuntimeError):
            transport.write_eof()
            return True
    transport.close()
    return False


def reset(transport: asyncio.WriteTransport) -> None:
    """Abort with a RST once the peer's kernel has everything that was written: a RST discards what is on its way."""
    _reset_when_sent(transport, _LOOK[0])


def _reset_when_sent(transport: asyncio.WriteTransport, pause: float) -> None:
    if transport.is_closing():
        return
    sock = transport.get_extra_info("socket")
    if sock is None:
        transport.abort()
    elif transport.get_write_buffer_size() or _unacknowledged(sock):
        again = min(pause * 2, _LOOK[1])
        asyncio.get_running_loop().call_later(pause, _reset_when_sent, transport, again)
    else:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        transport.abort()


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged yet; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    try:
        told = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except OSError:
        return 0
    return int(struct.unpack("i", told)[0])
