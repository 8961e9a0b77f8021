"""Which form of an answer a client accepts: the objects, a table of them, or their metadata alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Shape = Literal["object", "table", "metadata"]
_SHAPES: dict[str, Shape] = {
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
}


@dataclass(frozen=True, slots=True)
class Form:
    """The negotiated form; `api_version` is that of the table or metadata object."""

    shape: Shape = "object"
    api_version: str = ""


_PLAIN = Form()


def _parameters(media: str) -> tuple[str, dict[str, str]]:
    kind, *rest = (part.strip() for part in media.split(";"))
    return kind, dict(part.split("=", 1) for part in rest if "=" in part)


def negotiate(accept: str) -> Form:
    """The first acceptable form that the server has; JSON objects if nothing fits."""
    for media in accept.split(","):
        kind, parameters = _parameters(media)
        if kind not in ("application/json", "*/*", "application/*"):
            continue
        shape = _SHAPES.get(parameters.get("as", ""))
        if shape and parameters.get("v") in ("v1", "v1beta1"):
            return Form(shape, f"meta.k8s.io/{parameters['v']}")
        if "as" not in parameters:
            return _PLAIN
    return _PLAIN


def asks_for(accept: str, kind: str) -> str:
    """The version in which `kind` (as in APIGroupDiscoveryList) is acceptable, empty if it is not."""
    for media in accept.split(","):
        _, parameters = _parameters(media)
        if parameters.get("as") == kind:
            return parameters.get("v", "")
    return ""
