"""Capture and replay inside a client of httpx, httpx2, requests, aiohttp or azure-core, and whose call it is.

Each client library has one module here, which is bound to the library that the application has loaded. Importing this
package loads none of them.
"""

from __future__ import annotations

from .caller import context
from .httpx_like import Bound, bind

__all__ = ["Bound", "bind", "context"]
