"""The Kubernetes API: what is on the wire, and what is kept in step with it.

Nothing is re-exported here: `canaryd.cluster.resources` and `canaryd.cluster.errors` stay cheap to import.
"""
