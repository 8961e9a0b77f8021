"""Controllers of the sandbox: Deployments, ReplicaSets, Endpoints."""
