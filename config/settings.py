"""Settings of the daemon: one YAML file, overridden by CANARYD_... variables, overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from config.policy import SHIPPED, Policy


@dataclass(frozen=True, slots=True)
class PrometheusSettings:
    """Where the numbers come from; `timeout` and `scrape_interval` in seconds."""

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
    """Where probes and /metrics are served, "host:port"; port 0 takes a free one, "" serves none."""

    probes: str = "0.0.0.0:8081"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """`auto` is console on a terminal and JSON lines off it."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the daemon can be told; durations in seconds. Ranges and reasons: `SETTING_KNOBS`."""

    prometheus: PrometheusSettings = PrometheusSettings()
    api: ApiSettings = ApiSettings()
    listen: ListenSettings = ListenSettings()
    log: LogSettings = LogSettings()
    namespaces: tuple[str, ...] = ()  # none: all of them
    tick: float = 15.0
    settle: float = 15.0
    workers: int = 8
    gate: Literal["standing-pause", "admission"] = "standing-pause"
    history: int = 10
    default_policy: str = "standard"
    policies: Mapping[str, Policy] = field(default_factory=lambda: SHIPPED)
