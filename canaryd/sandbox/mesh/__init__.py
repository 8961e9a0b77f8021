"""A mesh for the sandbox: Istio's objects in, the configuration of one real Envoy out.

One Envoy plays every proxy: its outer listener is the ingress gateway and the sidecar of a client in the
mesh. Each pod has an inbound listener on its own address, as its sidecar would, which counts its requests.
"""
