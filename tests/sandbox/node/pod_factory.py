"""Pods for the node's tests."""

import sys
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.node.spec import PodSpec, parse_pod


def python(code: str) -> list[str]:
    """A command that runs a few lines of Python, without the site's start-up."""
    return [sys.executable, "-I", "-S", "-c", code]


def raw_pod(*containers: Json, name: str = "p", **spec: Any) -> Json:
    numbered = [{"name": f"c{index}", "image": "example/app:v1"} | c for index, c in enumerate(containers)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "default",
            "name": name,
            "uid": f"{name}-uid",
            "labels": {"app": "checkout"},
            "annotations": {"team": "pay"},
        },
        "spec": {"containers": numbered, "terminationGracePeriodSeconds": 5, **spec},
    }


def pod_spec(*containers: Json, name: str = "p", **spec: Any) -> PodSpec:
    return parse_pod(raw_pod(*containers, name=name, **spec))
