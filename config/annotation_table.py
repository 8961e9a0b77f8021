"""The table of annotations: those of a Deployment's own, and those that override its policy."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from config.kinds import Flag, Text
from config.knobs import Knob
from config.lists import Texts
from config.policy_knobs import POLICY_KNOBS

PREFIX = "canaryd.io/"

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"

_CHECK = Text("a check's name", r"[a-z][-a-z0-9]*")
_ROUTE = Text("a route's name", r"[^\s,\x00-\x1f\x7f](?:[^,\x00-\x1f\x7f]*[^\s,\x00-\x1f\x7f])?")

_OWN: tuple[Knob, ...] = (
    Knob(
        "enabled",
        Flag(),
        'With "true" canaryd releases new versions of this Deployment; without it nothing is touched.',
    ),
    Knob(
        "policy",
        Text("a policy's name", r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", 63),
        "How carefully: a policy of the configuration.",
    ),
    Knob(
        "service",
        Text("the name of a Service in this namespace", _LABEL, 63),
        "The Service whose traffic is split, where several select these pods.",
    ),
    Knob(
        "virtual-service",
        Text("[namespace/]name of a VirtualService", rf"(?:{_LABEL}/)?{_NAME}"),
        "The VirtualService whose weights are moved, where it cannot be found by itself.",
    ),
    Knob(
        "routes",
        Texts(_ROUTE, "names of http routes, each once, separated by commas", 1),
        "Only these http routes are split; preflight objects to others that send to the Service.",
    ),
    Knob(
        "accept",
        Texts(_CHECK, "names of preflight checks, each once, separated by commas", 1),
        "Preflight checks whose failure is accepted for this Deployment.",
    ),
    Knob(
        "retry",
        Text("any text of at most 253 characters"),
        "A new value makes canaryd try the rejected template again.",
    ),
    Knob(
        "skip",
        Text("a revision, as `kubectl get crun` shows it", _LABEL, 63),
        "This one revision is let through at once, in an emergency; an event says so.",
    ),
    Knob(
        "pause",
        Flag(),
        'With "true" the run holds at its weight until the annotation goes.',
    ),
    Knob(
        "abort",
        Text('a revision, or "true" for whichever runs', _LABEL, 63),
        "The run is rolled back.",
    ),
    Knob(
        "slack-channel",
        Text('a channel, such as "#payments"', r"#?[^\s#,\x00-\x1f\x7f]+", 80),
        "Where this Deployment's alerts will go; nothing is sent yet.",
    ),
    Knob(
        "image-repository",
        Text(
            'an image repository without tag or digest, such as "ghcr.io/acme/checkout"',
            rf"(?:[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?/)?{_PART}(?:/{_PART})*",
        ),
        "A CI webhook that names this repository will mean this Deployment; none is served yet.",
    ),
)

ANNOTATIONS: Mapping[str, Knob] = MappingProxyType({knob.key: knob for knob in _OWN})

POLICY_ANNOTATIONS: Mapping[str, Knob] = MappingProxyType(
    {knob.key: knob for knob in POLICY_KNOBS if knob.annotation}
)

# Names that are known and yet an error here; the value is what to do instead.
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "replaces": "a release side by side is not supported by this version; "
        "remove the annotation and change the image of one Deployment instead",
        "allow-from": "it belongs on the VirtualService that lets this namespace edit it",
    }
    | {
        knob.key: "it belongs in a policy of the configuration"
        for knob in POLICY_KNOBS
        if not knob.annotation
    }
)
