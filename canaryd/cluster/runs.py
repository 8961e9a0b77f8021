"""CanaryRun objects: a run as the API server keeps it, and back. Bit for bit, so that a restart continues it.

The status is written as a merge patch, so that fields of a newer version stay. A merge patch removes a key
only where it says null, and API servers drop nulls, also inside of lists: what must not be merged or thinned
out (labels, the judge's state) is written accordingly.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from analysis import JudgeState
from analysis.errors import AnalysisError
from analysis.watch import WatchState
from canaryd.cluster.fields import entries, number, part, value
from canaryd.cluster.lines import packed, unpacked
from canaryd.cluster.resources import CANARYRUNS, Json
from canaryd.domain.model import (
    Arm,
    Condition,
    Form,
    Hold,
    Labels,
    Outcome,
    Pass,
    Recorded,
    RouteRef,
    Run,
    Stage,
    Target,
    Traffic,
    Wanted,
)
from config import Policy
from config.problems import ConfigurationError

FINALIZER = "canaryd.io/restore"
TARGET_LABEL = "canaryd.io/target"

_SELECTING = ("pod-template-hash", "canaryd.io/role", "canaryd.io/revision")
"""The labels by which a subset selects: those that an earlier status may have had are said to be none."""


def stamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 with microseconds, as Kubernetes writes MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def target_label(deployment: str) -> str:
    """The Deployment's name as a label's value: longer names are cut to what a label takes."""
    return deployment[:63].rstrip("-._")


def manifest(run: Run) -> Json:
    """A new CanaryRun: all but the status."""
    return {
        "apiVersion": CANARYRUNS.api_version,
        "kind": CANARYRUNS.kind,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": {
                TARGET_LABEL: target_label(run.target.name),
                "app.kubernetes.io/managed-by": "canaryd",
            },
            "finalizers": [FINALIZER],
        },
        "spec": {
            "target": {"kind": "Deployment", "name": run.target.name, "uid": run.target.uid},
            "revision": run.revision,
            "strategy": "InPlace",
            "policy": run.policy_name,
            "trigger": {"reason": run.trigger},
            "retry": run.retry,
        },
    }


def status(run: Run) -> Json:
    """The whole state of a run, as a merge patch: whatever the status was, `parse` reads `run` from it then.

    Verdicts of the past stay in it for people to read: `parse` leaves them aside.
    """
    body: Json = {
        "phase": run.phase.value,
        "stage": run.stage.value,
        "outcome": run.outcome.value if run.outcome else None,
        "hold": run.hold.value if run.hold else None,
        "reason": run.reason,
        "because": run.because,
        "policy": run.policy.to_json() if run.policy else None,
        "service": run.service,
        "host": run.host,
        "routes": [_route(ref) for ref in run.routes],
        "stable": _arm(run.stable) if run.stable else None,
        "carrier": run.carrier,
        "handsOn": run.hands_on,
        "startReplicas": run.start_replicas,
        "step": _step(run),
        "weight": {
            "wanted": run.wanted.traffic.weight,
            "seen": run.seen_share,
            "highest": run.highest_weight,
        },
        "wanted": _wanted(run.wanted),
        "gateClosed": run.gate_closed,
        "judge": _sealed(run.evidence.to_json()) if run.evidence else None,
        "verdict": run.verdict.to_json() if run.verdict else None,
        "verdictDecision": run.verdict.decision if run.verdict else None,
        "watched": _sealed(run.watched.to_json()) if run.watched else None,
        "watch": run.watch.to_json() if run.watch else None,
        "recording": _recorded(run.recorded),
        "allocation": list(run.allocation),
        "rungRequests": run.rung_requests,
        "passes": [
            {"step": p.step, "weight": p.weight, "at": p.at, "because": p.because} for p in run.passes
        ],
        "reasserted": list(run.reasserted),
        "conditions": [_condition(c) for c in run.conditions],
        "times": _times(run),
        "startedAt": stamp(run.created),
        "finishedAt": stamp(run.finished) if run.finished else None,
    }
    past = ("verdict", "verdictDecision", "watch")
    return {key: state for key, state in body.items() if state is not None or key not in past}


def _sealed(state: Json) -> Json:
    """A state as one text: it knows null from missing, which a merge patch does not."""
    return {"state": json.dumps(state, separators=(",", ":"))}


def _opened(raw: Json) -> Any:
    return json.loads(raw["state"])


def _recorded(recorded: Recorded) -> Json:
    return {
        "lines": packed(recorded.lines),
        "stored": recorded.stored,
        "size": recorded.size,
        "end": recorded.end,
        "ended": recorded.ended,
    }


def _step(run: Run) -> Json:
    steps = list(run.policy.steps) if run.policy else []
    text = f"{run.step + 1}/{len(steps)}" if run.step >= 0 else f"0/{len(steps)}"
    return {"index": run.step, "of": len(steps), "text": text}


def _times(run: Run) -> Json:
    return {
        "created": run.created,
        "settledFrom": run.settled_from,
        "stageSince": run.stage_since,
        "judgedSince": run.judged_since,
        "judgedTo": run.judged_to,
        "holdSince": run.hold_since,
        "blindSince": run.blind_since,
        "retreatedSince": run.retreated_since,
        "finished": run.finished,
    }


def _route(ref: RouteRef) -> Json:
    return {
        "virtualService": {"namespace": ref.namespace, "name": ref.name, "uid": ref.uid},
        "route": ref.route,
        "match": ref.match,
        "first": ref.first,
        "owners": ref.owners,
        "made": ref.made,
    }


def _arm(arm: Arm) -> Json:
    return {
        "workload": arm.workload,
        "revision": arm.revision,
        "labels": _labels(arm.labels),
        "replicaSet": arm.replicaset,
    }


def _wanted(wanted: Wanted) -> Json:
    return {
        "paused": wanted.paused,
        "canaryReplicas": wanted.canary,
        "form": wanted.traffic.form.value,
        "weight": wanted.traffic.weight,
        "stableSubset": _labels(wanted.stable_subset),
        "canarySubset": _labels(wanted.canary_subset),
        "carrier": wanted.carrier,
        "template": wanted.template,
    }


def _labels(labels: Labels | None) -> Json | None:
    return {**dict.fromkeys(_SELECTING), **labels} if labels is not None else None


def _condition(condition: Condition) -> Json:
    return {
        "type": condition.type,
        "status": "True" if condition.status else "False",
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": stamp(condition.at),
        "at": condition.at,
    }


def parse(obj: Json) -> Run:
    """The run that an object of the API server holds. ValueError where it is none that this version can read.

    Fields that this version does not know are left aside.
    """
    try:
        return _parse(obj)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not a run that can be read: {error!r}") from error
    except (AnalysisError, ConfigurationError) as error:
        raise ValueError(f"not a run that can be read: {error}") from error


def _parse(obj: Json) -> Run:
    meta, spec, state = obj["metadata"], obj["spec"], part(obj, "status")
    times, step, weight = part(state, "times"), part(state, "step"), part(state, "weight")
    policy, stable = part(state, "policy"), part(state, "stable")
    created = number(times, "created")
    return Run(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        target=Target(meta["namespace"], spec["target"]["name"], spec["target"].get("uid", "")),
        revision=spec["revision"],
        policy_name=value(spec, "policy", ""),
        trigger=value(part(spec, "trigger"), "reason", ""),
        retry=value(spec, "retry", ""),
        wish_pause=value(spec, "paused", False),
        wish_abort=value(spec, "abort", ""),
        deleting="deletionTimestamp" in meta,
        created=created if created is not None else seconds(meta["creationTimestamp"]),
        stage=Stage(state.get("stage") or Stage.PREFLIGHT),
        outcome=Outcome(state["outcome"]) if state.get("outcome") else None,
        hold=Hold(state["hold"]) if state.get("hold") else None,
        reason=value(state, "reason", ""),
        because=value(state, "because", ""),
        policy=Policy.from_json(policy) if policy else None,
        service=value(state, "service", ""),
        host=value(state, "host", ""),
        routes=tuple(_parse_route(route) for route in entries(state, "routes")),
        stable=_parse_arm(stable) if stable else None,
        carrier=value(state, "carrier", ""),
        hands_on=value(state, "handsOn", False),
        start_replicas=value(state, "startReplicas", 0),
        step=value(step, "index", -1),
        wanted=_parse_wanted(part(state, "wanted")),
        settled_from=number(times, "settledFrom"),
        stage_since=number(times, "stageSince") or 0.0,
        judged_since=number(times, "judgedSince"),
        judged_to=number(times, "judgedTo"),
        hold_since=number(times, "holdSince"),
        blind_since=number(times, "blindSince"),
        retreated_since=number(times, "retreatedSince"),
        finished=number(times, "finished"),
        allocation=tuple(float(each) for each in entries(state, "allocation")),
        rung_requests=value(state, "rungRequests", 0),
        gate_closed=value(state, "gateClosed", False),
        highest_weight=value(weight, "highest", 0),
        seen_share=number(weight, "seen"),
        evidence=JudgeState.from_json(_opened(state["judge"])) if state.get("judge") else None,
        watched=WatchState.from_json(_opened(state["watched"])) if state.get("watched") else None,
        recorded=_parse_recorded(part(state, "recording")),
        passes=tuple(_parse_pass(each) for each in entries(state, "passes")),
        reasserted=tuple(float(each) for each in entries(state, "reasserted")),
        conditions=tuple(_parse_condition(each) for each in entries(state, "conditions")),
    )


def _parse_recorded(raw: Json) -> Recorded:
    """Lines that somebody has spoilt end the recording, and nothing else."""
    ended = value(raw, "ended", "")
    try:
        lines = unpacked(value(raw, "lines", ""))
    except ValueError:
        lines, ended = (), "the recording ends where its lines in the status were spoilt"
    return Recorded(lines, value(raw, "stored", 0), value(raw, "size", 0), number(raw, "end"), ended)


def _parse_route(raw: Json) -> RouteRef:
    vs = raw["virtualService"]
    return RouteRef(
        namespace=vs["namespace"],
        name=vs["name"],
        uid=value(vs, "uid", ""),
        route=value(raw, "route", ""),
        match=raw.get("match"),
        first=raw["first"],
        owners=raw.get("owners"),
        made=value(raw, "made", False),
    )


def _parse_labels(raw: Json) -> Labels:
    return {key: value(raw, key, "") for key in raw if raw[key] is not None}


def _parse_arm(raw: Json) -> Arm:
    labels, replicaset = _parse_labels(part(raw, "labels")), value(raw, "replicaSet", "")
    return Arm(raw["workload"], raw["revision"], labels, replicaset)


def _parse_wanted(raw: Json) -> Wanted:
    stable, canary = raw.get("stableSubset"), raw.get("canarySubset")
    return Wanted(
        paused=value(raw, "paused", True),
        canary=value(raw, "canaryReplicas", 0) if raw.get("canaryReplicas") is not None else None,
        traffic=Traffic(Form(raw.get("form") or Form.PLAIN), value(raw, "weight", 0)),
        stable_subset=_parse_labels(stable) if stable is not None else None,
        canary_subset=_parse_labels(canary) if canary is not None else None,
        carrier=value(raw, "carrier", False),
        template=value(raw, "template", ""),
    )


def _parse_pass(raw: Json) -> Pass:
    return Pass(value(raw, "step", 0), value(raw, "weight", 0), float(raw["at"]), value(raw, "because", ""))


def _parse_condition(raw: Json) -> Condition:
    at = number(raw, "at")
    when = at if at is not None else seconds(raw["lastTransitionTime"])
    return Condition(
        raw["type"], raw["status"] == "True", value(raw, "reason", ""), value(raw, "message", ""), when
    )
