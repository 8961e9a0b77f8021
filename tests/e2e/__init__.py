"""Whole releases in the sandbox: real Envoy, real Prometheus, canaryd as a process of its own."""
