"""The custom resources of the sandbox: canaryd's own CRD as shipped, and Istio's kinds with open schemas."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from canaryd.cluster.errors import AlreadyExists
from canaryd.cluster.resources import CRDS, Json
from canaryd.cluster.transport import Api

_ISTIO = (
    ("VirtualService", "virtualservices", "vs"),
    ("DestinationRule", "destinationrules", "dr"),
    ("Gateway", "gateways", "gw"),
)


def canaryrun() -> Json:
    """canaryd's CRD: beside the checkout's manifests, or inside the installed package."""
    checkout = Path(__file__).parents[2] / "deploy" / "crd" / "canaryrun.yaml"
    text = (
        checkout.read_text()
        if checkout.exists()
        else files("canaryd").joinpath("crd/canaryrun.yaml").read_text()
    )
    body: Json = yaml.safe_load(text)
    return body


def istio() -> list[Json]:
    """Istio's traffic kinds in every version that meshes serve; nothing of their content is checked."""
    return [_open(kind, plural, short) for kind, plural, short in _ISTIO]


def _open(kind: str, plural: str, short: str) -> Json:
    schema: dict[str, Any] = {
        "openAPIV3Schema": {
            "type": "object",
            "properties": {
                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        }
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.networking.istio.io"},
        "spec": {
            "group": "networking.istio.io",
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
            },
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == "v1",
                    "subresources": {"status": {}},
                    "schema": schema,
                }
                for version in ("v1", "v1beta1", "v1alpha3")
            ],
        },
    }


def install(api: Api, bodies: list[Json]) -> None:
    """Create the CRDs that are not there yet."""
    for body in bodies:
        try:
            api.create(CRDS, None, body)
        except AlreadyExists:
            continue
