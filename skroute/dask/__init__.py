"""Routers fitted on tables that are too large for one machine, by a Dask cluster."""

from skroute.dask._router import DaskRankingRouter

__all__ = ["DaskRankingRouter"]
