"""A cluster in a box: API server, controllers, node, mesh and Prometheus, all on loopback.

Used by `canaryd demo` and the tests alone; nothing of the daemon imports it.
"""
