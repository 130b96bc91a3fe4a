"""Routing tables: synthetic, embedded, published, and your own."""

from __future__ import annotations

from skroute.datasets._battles import from_battles
from skroute.datasets._digits import load_digits_pool
from skroute.datasets._fetch import fetch_routerbench
from skroute.datasets._read import from_long, from_wide, read_routerbench, read_table
from skroute.datasets._synthetic import make_routing

__all__ = [
    "fetch_routerbench",
    "from_battles",
    "from_long",
    "from_wide",
    "load_digits_pool",
    "make_routing",
    "read_routerbench",
    "read_table",
]
