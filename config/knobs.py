"""A knob: one thing that can be set, described once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.kinds import Kind


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: its `key` as people write it, its kind, and why it exists.

    Its default stands in the dataclass that holds the value. `annotation` tells whether a
    Deployment may override it; `secret`, whether its value must not be shown.
    """

    key: str
    kind: Kind[Any]
    why: str
    annotation: bool = True
    secret: bool = False

    @property
    def field(self) -> str:
        """The attribute that holds the value, without the group: "prometheus.ca-file" -> "ca_file"."""
        return self.key.rpartition(".")[2].replace("-", "_")

    @property
    def json_key(self) -> str:
        """The name in a CanaryRun, by Kubernetes' convention: "step-min" -> "stepMin"."""
        first, *rest = self.key.split("-")
        return first + "".join(word.capitalize() for word in rest)
