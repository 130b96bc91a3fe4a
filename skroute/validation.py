"""Checks that routers of your own call."""

from skroute._table.tables import RoutingTable, check_queries, check_routing_table

__all__ = ["RoutingTable", "check_queries", "check_routing_table"]
