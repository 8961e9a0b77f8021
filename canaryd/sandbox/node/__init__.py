"""A node of the sandbox: pods as local processes."""

from canaryd.sandbox.node.node import Node

__all__ = ["Node"]
