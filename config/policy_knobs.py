"""The table of policy knobs: what each is called, its kind with its range, and why it exists.

Defaults stand in `config.policy.Policy`, whose fields have the same names.
"""

from __future__ import annotations

from config.kinds import Choice, Duration, Flag, Integer, Number
from config.knobs import Knob
from config.lists import Edges, Ladder
from config.metrics import Metrics

_DAY = 86400.0

POLICY_KNOBS: tuple[Knob, ...] = (
    Knob(
        "steps",
        Ladder(),
        "The weights that the canary is given, one after the other.",
    ),
    Knob(
        "step-min",
        Duration(1, _DAY),
        "A step lasts at least this long, so that a slow fault has time to show.",
    ),
    Knob(
        "deadline",
        Duration(60, 7 * _DAY),
        "A run not shown to be safe by then is held or rolled back (on-inconclusive), never promoted.",
    ),
    Knob(
        "ready-timeout",
        Duration(1, _DAY),
        "Canary pods that are not ready by then fail the run.",
    ),
    Knob(
        "warm-up",
        Duration(0, 3600),
        "A pod younger than this is not judged: cold caches are not the revision's fault.",
    ),
    Knob(
        "min-judged",
        Duration(0, _DAY),
        "Least time judged before a promotion: bursts can hide harm for minutes.",
    ),
    Knob(
        "last-judged",
        Integer(1, 99, "percent"),
        "Safety must be shown at the highest step up to this weight: above it little baseline is left.",
        annotation=False,
    ),
    Knob(
        "max-error-ratio",
        Number(1, 20, "odds ratio"),
        "Harm: odds of an error above the baseline's by this factor and by max-error-delta too.",
    ),
    Knob(
        "max-error-delta",
        Number(0, 0.5, "proportion of requests"),
        "Harm: an error rate above the baseline's by this much and by max-error-ratio too.",
    ),
    Knob(
        "safe-error-ratio",
        Number(1, 50, "odds ratio"),
        "Safe: shown to stay below this factor or below safe-error-delta. More needs fewer requests.",
    ),
    Knob(
        "safe-error-delta",
        Number(1e-6, 0.9, "proportion of requests"),
        "Safe: shown to stay below this difference or below safe-error-ratio. More needs fewer requests.",
    ),
    Knob(
        "max-slow-ratio",
        Number(1, 20, "odds ratio"),
        "Harm: the canary's odds of an answer slower than an edge exceed the baseline's by this factor.",
    ),
    Knob(
        "safe-slow-ratio",
        Number(1, 50, "odds ratio"),
        "Safe: odds of a slow answer shown to stay below this factor or below safe-slow-delta.",
    ),
    Knob(
        "safe-slow-delta",
        Number(1e-6, 0.9, "proportion of requests"),
        "Safe: the share of slow answers shown to stay below this difference or below safe-slow-ratio.",
    ),
    Knob(
        "slow-edges",
        Edges(3),
        "Latencies, bounds of the histogram, at which safety must be shown. None: chosen from the baseline.",
    ),
    Knob(
        "latency-weight",
        Number(0, 0.95, "proportion of evidence"),
        "Latency's share of the evidence of harm, errors have the rest. 0: latency is not judged.",
    ),
    Knob(
        "metrics",
        Metrics(),
        "Metrics of your own, judged besides errors and latency. They replace those of the policy it extends.",
        annotation=False,
    ),
    Knob(
        "alpha",
        Number(1e-6, 0.2, "probability"),
        "Bound on rolling back a harmless release, however long it runs and however often it is looked at.",
        annotation=False,
    ),
    Knob(
        "beta",
        Number(1e-6, 0.2, "probability"),
        "Bound on promoting a harmful release.",
        annotation=False,
    ),
    Knob(
        "harm-budget",
        Number(0.1, 1e6, "requests"),
        "The weight rises only if a fault still possible fails fewer requests than this before it is seen.",
    ),
    Knob(
        "min-bad-events",
        Integer(1, 1000, "requests"),
        "No harm is found on fewer bad requests of the canary, whatever the odds.",
        annotation=False,
    ),
    Knob(
        "min-intervals",
        Integer(1, 100, "intervals"),
        "No harm is found on fewer intervals, unless the evidence is overwhelming.",
        annotation=False,
    ),
    Knob(
        "burst-block",
        Duration(0, 3600),
        "Errors of a pod within this span count as one burst: longer than the bursts your service knows. "
        "0: they are independent, and an alarm rolls back at once, with no certificate against bursts.",
    ),
    Knob(
        "condemn-at-once",
        Flag(),
        "Overwhelming evidence (1/alpha cubed) rolls back without waiting to tell a burst from a fault.",
    ),
    Knob(
        "blind-limit",
        Duration(10, _DAY),
        "Without evidence for this long (Prometheus down, empty, stale) the canary goes back to 0 %.",
    ),
    Knob(
        "on-inconclusive",
        Choice(("hold", "rollback")),
        "Past the deadline without proof of safety: hold at the weight until it comes, or roll back.",
    ),
    Knob(
        "hold-limit",
        Duration(60, 30 * _DAY),
        "Longest time that a run may stay paused by a person; it is rolled back then.",
    ),
    Knob(
        "drain-limit",
        Duration(0, _DAY),
        "Open streams to the canary are given this long to end; then its pods go with their grace period.",
    ),
    Knob(
        "drift-reasserts",
        Integer(0, 60, "per hour"),
        "How often weights that somebody else edits are written again before the run holds at 0 %.",
        annotation=False,
    ),
    Knob(
        "on-reject",
        Choice(("keep", "revert")),
        "A rejected template stays in the Deployment, not rolled out, or the running one is put back.",
    ),
    Knob(
        "restarts",
        Choice(("canary", "roll")),
        "A change that only restarts pods is released as a canary too, or rolls at once.",
    ),
)
