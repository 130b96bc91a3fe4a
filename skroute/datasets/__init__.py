"""Routing tables: synthetic, embedded and published."""

from __future__ import annotations

from skroute.datasets._digits import load_digits_pool
from skroute.datasets._fetch import fetch_routerbench
from skroute.datasets._routerbench import read_routerbench
from skroute.datasets._synthetic import make_routing

__all__ = [
    "fetch_routerbench",
    "load_digits_pool",
    "make_routing",
    "read_routerbench",
]
