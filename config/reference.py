"""The reference of every knob: `python -m config.reference > docs/configuration.md` writes it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable

from config.annotation_table import ANNOTATIONS, ELSEWHERE, POLICY_ANNOTATIONS, PREFIX
from config.knobs import Knob
from config.load import variable
from config.metrics import PROPORTION_KNOBS, THRESHOLD_KNOBS, ProportionMetric, ThresholdMetric
from config.policy import SHIPPED
from config.policy_knobs import POLICY_KNOBS
from config.promql import PLACEHOLDERS
from config.setting_knobs import SETTING_KNOBS
from config.settings import Settings

_PLACEHOLDERS = "; ".join(f"`${name}`, {meaning}" for name, meaning in PLACEHOLDERS.items())

_HEAD = """\
# Configuration

<!-- Written by `python -m config.reference > docs/configuration.md`; edit the tables in config/ instead. -->

canaryd works without any configuration but the address of Prometheus. What it is told, it is told in three
places: one YAML file for the daemon, policies in the same file, and annotations on each Deployment.
`canaryd config check FILE` names everything that is wrong with a file; `canaryd config show` prints what is
in force.

Durations are written `90s`, `1h30m`, `500ms`, or as a plain number of seconds. Lists are YAML lists or texts
with commas. Ratios are ratios of odds, rates are proportions: 0.001 is one request in a thousand.

## Settings

A setting is taken from its default, then from the file (`--config FILE` or `CANARYD_CONFIG`), then from its
environment variable, then from a flag of the command; the last one wins. An empty variable counts as not set.
Keys that do not exist, or are written twice, are errors.

```yaml
prometheus:
  url: https://prometheus.monitoring:9090
  bearer-token-file: /var/run/secrets/prometheus/token
default-policy: payments
policies:
  payments:
    extends: cautious
    steps: [1, 5, 20, 50, 100]
    deadline: 8h
```
"""

_POLICIES = """\

## Policies

A policy says how carefully a release is made. `standard` fits most services in production, `cautious` those
where a small regression is expensive (it needs several times the traffic), `fast` clusters for development:
it takes errors as independent of each other, so that an alarm rolls back at once.
A policy of your own builds on the one named by `extends`, or on `standard`; one named like a shipped policy
changes that policy. The file is read when canaryd starts; a run keeps the policy that it started with.

Some values cannot go together: each `safe-` tolerance must be above its `max-` twin, `deadline` must be above
`min-judged`, above `ready-timeout` and above `step-min` times the number of steps, and the first step must
not be above `last-judged`.
"""

_METRICS = f"""\

## Metrics of your own

A policy's `metrics` are judged besides errors and latency, or checked. They are PromQL, with the arm as a
placeholder: {_PLACEHOLDERS}.

```yaml
policies:
  payments:
    metrics:
      orders:                        # a proportion: bad and total are counters
        bad: 'sum by (pod) (orders_total{{outcome="failed", namespace="$namespace", pod=~"$pods"}})'
        total: 'sum by (pod) (orders_total{{namespace="$namespace", pod=~"$pods"}})'
        weight: 0.2
      queue-depth:                   # a threshold: a value and its limit
        value: 'max(queue_depth{{namespace="$namespace", pod=~"$pods"}})'
        at-most: 100
        failures: 3
```

A **proportion** is judged as errors are: bad events of all events, canary against baseline, with the same bound on
false rollbacks. Its weight is taken from what errors have of the evidence.
"""

_THRESHOLDS = """\

A **threshold** is no statistics: it compares the canary's value with a limit, so many intervals in a row, and has no
error bound. A metric has one sort of key:
"""

_QUERIES = """\

How queries are asked, what their answers must be like, and what happens where there is none:
[metrics of your own](metrics.md).
"""

_ANNOTATIONS = f"""\

## Annotations

On a Deployment, beneath `metadata.annotations`, each with the prefix `{PREFIX}`. Values are text: write
`"true"`, not `true`. A malformed or unknown annotation stops releases of that Deployment alone, with a
condition and an event that say what is allowed.
"""


def render() -> str:
    """The whole of docs/configuration.md."""
    return "".join(
        (
            _HEAD,
            _settings(),
            _POLICIES,
            _policies(),
            _meanings(POLICY_KNOBS),
            _METRICS,
            _metrics(PROPORTION_KNOBS, ProportionMetric),
            _THRESHOLDS,
            _metrics(THRESHOLD_KNOBS, ThresholdMetric),
            _QUERIES,
            _ANNOTATIONS,
            _annotations(),
            _overrides(),
        )
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else "none"


def _settings() -> str:
    defaults = Settings()
    rows = (
        (
            _code(knob.key),
            _code("" if knob.secret else knob.kind.spell(defaults.value(knob.key))),
            knob.kind.range,
            knob.why,
            _code(variable(knob.key)),
        )
        for knob in SETTING_KNOBS
    )
    return _table(("key", "default", "allowed", "why", "variable"), rows)


def _policies() -> str:
    rows = (
        (
            _code(knob.key),
            *(_code(knob.kind.spell(getattr(policy, knob.field))) for policy in SHIPPED.values()),
        )
        for knob in POLICY_KNOBS
    )
    return _table(("key", *(_code(name) for name in SHIPPED)), rows)


def _meanings(knobs: Iterable[Knob]) -> str:
    rows = ((_code(knob.key), knob.kind.unit or "-", knob.kind.range, knob.why) for knob in knobs)
    return _table(("key", "unit", "allowed", "why"), rows)


def _metrics(knobs: Iterable[Knob], metric: type[ProportionMetric | ThresholdMetric]) -> str:
    defaults = {one.name: one.default for one in dataclasses.fields(metric)}
    rows = (
        (_code(knob.key), _code(_default(knob, defaults[knob.field])), knob.kind.range, knob.why)
        for knob in knobs
    )
    return _table(("key", "default", "allowed", "why"), rows)


def _default(knob: Knob, value: object) -> str:
    return "" if value in (None, dataclasses.MISSING) else knob.kind.spell(value)


def _annotations() -> str:
    rows = ((_code(PREFIX + knob.key), knob.kind.allowed, knob.why) for knob in ANNOTATIONS.values())
    return _table(("annotation", "allowed", "why"), rows)


def _overrides() -> str:
    names = ", ".join(_code(PREFIX + key) for key in POLICY_ANNOTATIONS)
    others = ", ".join(_code(knob.key) for knob in POLICY_KNOBS if knob.key in ELSEWHERE)
    return (
        f"\nThese override one value of the policy, with its meaning and range: {names}. "
        f"The rest ({others}) is for those who write policies.\n"
    )


if __name__ == "__main__":
    sys.stdout.write(render())
