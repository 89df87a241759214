"""Runs the copying process outside of recorder, whose other packages take longer to load than most of its work."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])
code = importlib.import_module("copying").main()
# Nothing is left to be put in order, and DuckDB takes its time for that.
os._exit(code)
