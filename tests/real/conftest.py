"""Fixtures for this folder."""

from real_control_plane import official_crds, real_api, real_cluster, real_crds

__all__ = ["official_crds", "real_api", "real_cluster", "real_crds"]
