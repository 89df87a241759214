"""The recording proxy: any program is recorded with no change but its base URL.

routes    which upstream a path means
tape      the recording of one exchange
forward   one exchange on its way
metrics   figures for Prometheus
ledger    one line a run
service   the whole
"""

from __future__ import annotations

from .ledger import Ledger
from .metrics import Figures
from .routes import DEFAULTS, Route, Routes
from .service import Service, Settings
from .variables import child_environment, routes_for

__all__ = ["DEFAULTS", "Figures", "Ledger", "Route", "Routes", "Service", "Settings", "child_environment", "routes_for"]
