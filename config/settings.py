"""What the daemon can be told, with its defaults. Ranges and reasons are in `config.setting_knobs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from config.policy import SHIPPED, Policy
from config.policy_knobs import POLICY_KNOBS
from config.setting_knobs import SETTING_KNOBS


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Where the numbers come from; durations in seconds, "" for no file. `headers` may be secret."""

    url: str = "http://prometheus.istio-system:9090"
    timeout: float = 10.0
    scrape_interval: float = 15.0
    bearer_token_file: str = ""
    ca_file: str = ""
    verify: bool = True
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Deadlines of calls to the Kubernetes API, in seconds."""

    connect_timeout: float = 3.0
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """host:port for each server; port 0 takes a free one, "" serves nothing."""

    probes: str = "0.0.0.0:8081"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`auto` is console on a terminal and JSON lines off it."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon can be told; durations in seconds.

    `namespaces` is empty for all of them. `policies` has the shipped ones and those of the file, by name,
    and always the `default_policy`.
    """

    prometheus: PrometheusSettings = PrometheusSettings()
    api: ApiSettings = ApiSettings()
    listen: ListenSettings = ListenSettings()
    log: LogSettings = LogSettings()
    namespaces: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    tick: float = 15.0
    settle: float = 15.0
    workers: int = 8
    gate: Literal["standing-pause", "admission"] = "standing-pause"
    history: int = 10
    default_policy: str = "standard"
    policies: Mapping[str, Policy] = field(default_factory=lambda: SHIPPED)

    def value(self, key: str) -> Any:
        """The value at a key path of `SETTING_KNOBS`, such as "prometheus.ca-file"."""
        value: Any = self
        for part in key.split("."):
            value = getattr(value, part.replace("-", "_"))
        return value

    def to_document(self) -> dict[str, Any]:
        """The settings as the YAML file has them, everything written out, secrets redacted."""
        document: dict[str, Any] = {}
        for knob in SETTING_KNOBS:
            *groups, name = knob.key.split(".")
            place = document
            for group in groups:
                place = place.setdefault(group, {})
            place[name] = knob.kind.show(self.value(knob.key))
        policies = {name: policy_document(policy) for name, policy in sorted(self.policies.items())}
        return document | {"policies": policies}


def policy_document(policy: Policy) -> dict[str, Any]:
    """`policy` as the YAML file has it, every knob written out."""
    return {knob.key: knob.kind.show(getattr(policy, knob.field)) for knob in POLICY_KNOBS}
