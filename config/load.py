"""Reading settings: defaults, then the file, then CANARYD_... variables, then flags; the last one wins.

Every value that is written is checked, also one that a later layer overrides, and everything that is wrong
is reported at once. Policies come from the file alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from config.document import Document, KeyPath, read_document
from config.knobs import Knob
from config.policies import read_policies
from config.problems import ConfigurationError, MalformedError, Problem, did_you_mean, nearest, shown
from config.setting_knobs import SETTING_KNOBS
from config.settings import ApiSettings, ListenSettings, LogSettings, PrometheusSettings, Settings

ENVIRONMENT_PREFIX = "CANARYD_"

_KNOBS: Mapping[str, Knob] = {knob.key: knob for knob in SETTING_KNOBS}
_GROUPS = {key.partition(".")[0] for key in _KNOBS if "." in key}
_POLICIES = "policies"
_TOP = {key.partition(".")[0] for key in _KNOBS} | {_POLICIES}
# What Kubernetes puts into every container of a namespace that has a Service called canaryd(-...).
_SERVICE_LINK = re.compile(
    r"(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)"
)


def variable(key: str) -> str:
    """The variable that overrides a setting: "prometheus.ca-file" -> CANARYD_PROMETHEUS_CA_FILE."""
    return ENVIRONMENT_PREFIX + re.sub(r"[.-]", "_", key).upper()


def load(
    file: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> Settings:
    """The settings of `file` (None: defaults alone), overridden by `environment`, overridden by `overrides`.

    An empty variable counts as not set. `overrides` come from flags, keyed by key path ("prometheus.url");
    None means that the flag was not given. Raises ConfigurationError with everything that is wrong.
    """
    document = read_document(file) if file is not None else Document("defaults", {}, {})
    reader = _Reader()
    reader.problems += document.problems
    reader.file(document)
    policies, problems = read_policies(document, (_POLICIES,), document.root.get(_POLICIES))
    reader.problems += problems
    reader.problems.sort(key=lambda problem: problem.line)
    reader.environment(environment)
    reader.flags(overrides)
    settings = _settings(reader.values, policies)
    if not problems:  # else the default policy may merely be one of those that could not be read
        reader.check_default_policy(settings)
    reader.check_pairs(settings)
    if reader.problems:
        raise ConfigurationError(reader.problems)
    return settings


@dataclass(slots=True)
class _Reader:
    """Values by key path, and for each the problem it would be, were it refused after all."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Problem] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def file(self, document: Document) -> None:
        for path, raw in self._leaves(document):
            knob = _KNOBS[".".join(path)]
            self._take(knob, raw, document.problem(path, value=_tellable(knob, raw)))

    def _leaves(self, document: Document) -> Iterator[tuple[KeyPath, object]]:
        """The known settings that the document has; the unknown become problems."""
        for name, body in document.root.items():
            if name in _GROUPS and isinstance(body, Mapping):
                for key, raw in body.items():
                    if f"{name}.{key}" in _KNOBS:
                        yield (name, key), raw
                    else:
                        self._unknown(document, (name, key))
            elif name in _GROUPS and body is not None:
                self.problems.append(
                    document.problem((name,), value=body, allowed="a mapping of keys to values")
                )
            elif name in _KNOBS:
                yield (name,), body
            elif name not in _TOP:
                self._unknown(document, (name,))

    def _unknown(self, document: Document, path: KeyPath) -> None:
        *groups, key = path
        siblings = (
            {known.partition(".")[2] for known in _KNOBS if known.startswith(f"{groups[0]}.")}
            if groups
            else _TOP
        )
        hint = did_you_mean(key, siblings)
        if not hint:  # perhaps it stands in the wrong place
            found = [known for known in _KNOBS if known.rpartition(".")[2] == key]
            hint = f'; did you mean "{found[0]}"?' if found else ""
        self.problems.append(document.problem(path, fault="there is no such key" + hint))

    def environment(self, environment: Mapping[str, str]) -> None:
        known = {variable(key): knob for key, knob in _KNOBS.items()}
        for name, text in sorted(environment.items()):
            if name in known and text:
                knob = known[name]
                self._take(knob, text, Problem("environment", name, shown(_tellable(knob, text))))
            elif name not in known and name.startswith(ENVIRONMENT_PREFIX):
                self._stray(name, known)

    def _stray(self, name: str, known: Mapping[str, Knob]) -> None:
        """A variable that almost is one of ours was meant to be; others may well be somebody else's."""
        suffix = name.removeprefix(ENVIRONMENT_PREFIX)
        suffixes = [other.removeprefix(ENVIRONMENT_PREFIX) for other in known]
        near = "" if _SERVICE_LINK.fullmatch(suffix) else nearest(suffix.upper(), suffixes, cutoff=0.8)
        if near:
            fault = f"there is no such variable; did you mean {ENVIRONMENT_PREFIX}{near}?"
            self.problems.append(Problem("environment", name, fault=fault))

    def flags(self, overrides: Mapping[str, Any]) -> None:
        for key, raw in overrides.items():
            if raw is not None:
                knob = _KNOBS[key]
                self._take(knob, raw, Problem("command line", key, shown(_tellable(knob, raw))))

    def _take(self, knob: Knob, raw: object, place: Problem) -> None:
        try:
            self.values[knob.key] = knob.kind.parse(raw)
            self.places[knob.key] = place
        except MalformedError as refusal:
            problem = Problem(place.source, place.key, place.value, refusal.allowed, line=place.line)
            self.problems.append(problem)

    def check_default_policy(self, settings: Settings) -> None:
        name, known = settings.default_policy, settings.policies
        if name not in known:
            names = ", ".join(sorted(known))
            fault = f'there is no policy "{name}"; there are {names}{did_you_mean(name, known)}'
            self._object("default-policy", fault)

    def check_pairs(self, settings: Settings) -> None:
        """Settings that are each allowed and cannot go together."""
        source = settings.prometheus
        if source.ca_file and not source.verify:
            self._object(
                "prometheus.ca-file", "is of no use while prometheus.verify is false; remove one of them"
            )
        if source.bearer_token_file and any(name.lower() == "authorization" for name, _ in source.headers):
            self._object(
                "prometheus.bearer-token-file", "sends Authorization, and so does prometheus.headers"
            )

    def _object(self, key: str, fault: str) -> None:
        place = self.places.get(key, Problem("defaults", key))
        self.problems.append(Problem(place.source, place.key, fault=fault, line=place.line))


def _tellable(knob: Knob, raw: object) -> object:
    return "[redacted]" if knob.secret else raw


def _settings(values: Mapping[str, Any], policies: Mapping[str, Any]) -> Settings:
    def group(name: str) -> dict[str, Any]:
        return {_KNOBS[key].field: value for key, value in values.items() if key.startswith(f"{name}.")}

    top = {_KNOBS[key].field: value for key, value in values.items() if "." not in key}
    return Settings(
        prometheus=PrometheusSettings(**group("prometheus")),
        api=ApiSettings(**group("api")),
        listen=ListenSettings(**group("listen")),
        log=LogSettings(**group("log")),
        policies=MappingProxyType(dict(policies)),
        **top,
    )
