"""CanaryRun objects: a run as the API server keeps it, and back. Bit for bit, so that a restart continues it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from analysis import JudgeState
from analysis.watch import WatchState
from canaryd.cluster.resources import CANARYRUNS, Json
from canaryd.domain.model import (
    Arm,
    Condition,
    Form,
    Hold,
    Outcome,
    Pass,
    RouteRef,
    Run,
    Stage,
    Target,
    Traffic,
    Wanted,
)
from config import Policy

FINALIZER = "canaryd.io/restore"
TARGET_LABEL = "canaryd.io/target"


def stamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 with microseconds, as Kubernetes writes MicroTime."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def manifest(run: Run) -> Json:
    """A new CanaryRun: all but the status."""
    return {
        "apiVersion": CANARYRUNS.api_version,
        "kind": CANARYRUNS.kind,
        "metadata": {
            "name": run.name,
            "namespace": run.namespace,
            "labels": {TARGET_LABEL: run.target.name[:63], "app.kubernetes.io/managed-by": "canaryd"},
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
    """The whole state of a run."""
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
        "judge": run.evidence.to_json() if run.evidence else None,
        "verdict": run.verdict.to_json() if run.verdict else None,
        "verdictDecision": run.verdict.decision if run.verdict else None,
        "watched": run.watched.to_json() if run.watched else None,
        "watch": run.watch.to_json() if run.watch else None,
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
    return {key: value for key, value in body.items() if value is not None}


def _step(run: Run) -> Json:
    steps = list(run.policy.steps) if run.policy else []
    text = f"{run.step + 1}/{len(steps)}" if run.step >= 0 else f"0/{len(steps)}"
    return {"index": run.step, "of": len(steps), "text": text}


def _times(run: Run) -> Json:
    times = {
        "created": run.created,
        "settledFrom": run.settled_from,
        "stageSince": run.stage_since,
        "judgedSince": run.judged_since,
        "judgedTo": run.judged_to,
        "holdSince": run.hold_since,
        "blindSince": run.blind_since,
        "finished": run.finished,
    }
    return {key: value for key, value in times.items() if value is not None}


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
        "labels": dict(arm.labels),
        "replicaSet": arm.replicaset,
    }


def _wanted(wanted: Wanted) -> Json:
    return {
        "paused": wanted.paused,
        "canaryReplicas": wanted.canary,
        "form": wanted.traffic.form.value,
        "weight": wanted.traffic.weight,
        "stableSubset": dict(wanted.stable_subset) if wanted.stable_subset is not None else None,
        "canarySubset": dict(wanted.canary_subset) if wanted.canary_subset is not None else None,
        "carrier": wanted.carrier,
        "template": wanted.template,
    }


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
    """The run that an object of the API server holds. KeyError or ValueError where it is none of ours."""
    meta, spec, state = obj["metadata"], obj["spec"], obj.get("status") or {}
    times: Mapping[str, float] = state.get("times") or {}
    policy, stable = state.get("policy"), state.get("stable")
    return Run(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        target=Target(meta["namespace"], spec["target"]["name"], spec["target"].get("uid", "")),
        revision=spec["revision"],
        policy_name=spec.get("policy") or "",
        trigger=(spec.get("trigger") or {}).get("reason", ""),
        retry=spec.get("retry") or "",
        wish_pause=bool(spec.get("paused")),
        wish_abort=str(spec.get("abort") or ""),
        deleting="deletionTimestamp" in meta,
        created=times.get("created") or seconds(meta["creationTimestamp"]),
        stage=Stage(state.get("stage", Stage.PREFLIGHT)),
        outcome=Outcome(state["outcome"]) if state.get("outcome") else None,
        hold=Hold(state["hold"]) if state.get("hold") else None,
        reason=state.get("reason", ""),
        because=state.get("because", ""),
        policy=Policy.from_json(policy) if policy else None,
        service=state.get("service", ""),
        host=state.get("host", ""),
        routes=tuple(_parse_route(route) for route in state.get("routes") or []),
        stable=_parse_arm(stable) if stable else None,
        carrier=state.get("carrier", ""),
        hands_on=bool(state.get("handsOn")),
        start_replicas=state.get("startReplicas", 0),
        step=(state.get("step") or {}).get("index", -1),
        wanted=_parse_wanted(state.get("wanted") or {}),
        settled_from=times.get("settledFrom"),
        stage_since=times.get("stageSince", 0.0),
        judged_since=times.get("judgedSince"),
        judged_to=times.get("judgedTo"),
        hold_since=times.get("holdSince"),
        blind_since=times.get("blindSince"),
        finished=times.get("finished"),
        allocation=tuple(state.get("allocation") or []),
        rung_requests=state.get("rungRequests", 0),
        gate_closed=bool(state.get("gateClosed")),
        highest_weight=(state.get("weight") or {}).get("highest", 0),
        seen_share=(state.get("weight") or {}).get("seen"),
        evidence=JudgeState.from_json(state["judge"]) if state.get("judge") else None,
        watched=WatchState.from_json(state["watched"]) if state.get("watched") else None,
        passes=tuple(Pass(p["step"], p["weight"], p["at"], p["because"]) for p in state.get("passes") or []),
        reasserted=tuple(state.get("reasserted") or []),
        conditions=tuple(_parse_condition(c) for c in state.get("conditions") or []),
    )


def _parse_route(raw: Json) -> RouteRef:
    vs = raw["virtualService"]
    return RouteRef(
        namespace=vs["namespace"],
        name=vs["name"],
        uid=vs.get("uid", ""),
        route=raw.get("route", ""),
        match=raw.get("match"),
        first=raw["first"],
        owners=raw.get("owners"),
        made=bool(raw.get("made")),
    )


def _parse_arm(raw: Json) -> Arm:
    return Arm(raw["workload"], raw["revision"], raw.get("labels") or {}, raw.get("replicaSet", ""))


def _parse_wanted(raw: Json) -> Wanted:
    return Wanted(
        paused=raw.get("paused", True),
        canary=raw.get("canaryReplicas"),
        traffic=Traffic(Form(raw.get("form", Form.PLAIN)), raw.get("weight", 0)),
        stable_subset=raw.get("stableSubset"),
        canary_subset=raw.get("canarySubset"),
        carrier=bool(raw.get("carrier")),
        template=raw.get("template", ""),
    )


def _parse_condition(raw: Json) -> Condition:
    at: Any = raw.get("at")
    when = float(at) if at is not None else seconds(raw["lastTransitionTime"])
    return Condition(raw["type"], raw["status"] == "True", raw["reason"], raw["message"], when)
