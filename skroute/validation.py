"""Checks that a router of your own calls in `fit` and when it is asked.

See :class:`skroute.base.BaseRouter` for an example.
"""

from skroute._table.tables import RoutingTable, check_queries, check_routing_table

__all__ = ["RoutingTable", "check_queries", "check_routing_table"]
