"""What canaryd decides, and nothing else: pure functions over frozen values.

No I/O, no clock, no Kubernetes client. `decide` maps (run, world, now) to the next run; `converge` maps
what a run wants and what the world is to the writes that close the gap; `idle` says what a Deployment
without a run needs.
"""
