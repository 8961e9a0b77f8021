"""Traffic objects of Istio: what is there, what to write, and writing it.

`virtualservice` and `destinationrule` are pure; `discover` finds the routes of a Service; `writer` talks to
the API.
"""
