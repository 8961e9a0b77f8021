"""The table of settings: key path, kind with its range, and why it exists.

Defaults stand in `config.settings`, whose classes mirror the groups.
"""

from __future__ import annotations

from config.addresses import HeaderFields, ListenAddress, Namespaces, Url
from config.kinds import Choice, Duration, Flag, Integer, Text
from config.knobs import Knob

_FILE = Text('a file\'s path, or ""', r"[^\x00-\x1f\x7f]*", 4096)
_NAME = Text("the name of a namespace", r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", 63)

POLICY_NAME = Text(
    "a policy's name: lower-case letters, digits and dashes", r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", 63
)

SETTING_KNOBS: tuple[Knob, ...] = (
    Knob("prometheus.url", Url(), "The Prometheus, Thanos or Mimir that has Istio's metrics."),
    Knob(
        "prometheus.timeout",
        Duration(0.1, 300),
        "Deadline of one query, from connecting to the last byte; afterwards it counts as no evidence.",
    ),
    Knob(
        "prometheus.scrape-interval",
        Duration(0.1, 600),
        "How often Prometheus scrapes the sidecars: no interval can be judged that is shorter.",
    ),
    Knob(
        "prometheus.bearer-token-file",
        _FILE,
        "A file with the token to send, read again as it rotates.",
    ),
    Knob("prometheus.ca-file", _FILE, "Certificates, in PEM, to trust instead of the system's."),
    Knob("prometheus.verify", Flag(), "Whether the server's certificate is verified; false only in tests."),
    Knob(
        "prometheus.headers",
        HeaderFields(),
        "Headers to send with each query, such as a tenant's.",
        secret=True,
    ),
    Knob(
        "api.connect-timeout",
        Duration(0.1, 60),
        "Deadline for connecting to the Kubernetes API.",
    ),
    Knob(
        "api.timeout",
        Duration(0.1, 300),
        "Deadline of one call to the Kubernetes API; a rollback is tried again within the same tick.",
    ),
    Knob("listen.probes", ListenAddress(), "Where /healthz and /readyz are served."),
    Knob("log.level", Choice(("debug", "info", "warning", "error")), "The least severe line to log."),
    Knob(
        "log.format",
        Choice(("auto", "json", "console")),
        "JSON lines or text for people; auto: text on a terminal, JSON off it.",
    ),
    Knob("namespaces", Namespaces(), "Where Deployments are managed and routes are looked for."),
    Knob(
        "root-namespace",
        _NAME,
        "Istio's root namespace: its DestinationRules hold where no nearer one does.",
    ),
    Knob("tick", Duration(0.1, 300), "How often each run is looked at; about the scrape interval."),
    Knob(
        "settle",
        Duration(0, 600),
        "Least time given to the mesh to take up a change before anything relies on it.",
    ),
    Knob("workers", Integer(1, 256, "threads"), "How many runs are worked on at the same time."),
    Knob(
        "gate",
        Choice(("standing-pause",)),  # "admission" joins when canaryd serves that webhook
        "What keeps a new template from rolling by itself: spec.paused, at rest too.",
    ),
    Knob("history", Integer(1, 100, "runs"), "Ended runs kept per Deployment."),
    Knob("default-policy", POLICY_NAME, "The policy of Deployments that name none."),
)
