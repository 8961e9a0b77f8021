"""The loop: what changed is queued by Deployment, read, decided, written. State lives in Kubernetes."""
