"""The ladder: size the canary, shift the weight, judge, and only then the next rung.

Verdicts against the canary do not wait for a rung: see `retreat`.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain.ending import fail
from canaryd.domain.ladder import canary_requests, canary_size, next_traffic, stable_ready
from canaryd.domain.model import Form, Hold, Pass, Run, Stage, Traffic
from canaryd.domain.retreat import alarmed
from canaryd.domain.settle import settled
from canaryd.domain.world import World

LEAST_REQUESTS = 5  # of the canary at a rung, before the next one: silence is not success


def weight_of(run: Run) -> int:
    """The weight of the rung that the run stands on."""
    assert run.policy is not None
    return run.policy.steps[run.step]


def begin_step(run: Run, world: World, now: float, step: int) -> Run:
    """Make room for rung `step`: the canary's size leads a rise and lags a fall."""
    assert run.policy is not None
    weight = run.policy.steps[step]
    size = canary_size(weight, stable_ready(run, world), run.start_replicas)
    wanted = replace(run.wanted, canary=max(size, run.wanted.canary or 0))
    because = f"step {step + 1} of {len(run.policy.steps)}: {weight} %"
    return run.to(Stage.SIZE, now, because, step=step, hold=None, hold_since=None, wanted=wanted)


def size(run: Run, world: World, now: float) -> Run:
    """Wait for the canary's pods, then write the weights."""
    from canaryd.domain.prepare import await_ready  # noqa: PLC0415 - prepare begins the ladder, too

    if world.measured.blind:
        return _blind(run, world, now)
    run = _seeing(run)
    waiting = await_ready(run, world, now)
    if waiting is not None:
        return waiting
    if run.settled_from is None:
        return run
    weight = weight_of(run)
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, weight))
    return _unheld(run).to(
        Stage.SHIFT,
        now,
        f"{weight} % to the canary",
        wanted=wanted,
        highest_weight=max(run.highest_weight, weight),
    )


def shift(run: Run, world: World, now: float) -> Run:
    """Wait until every proxy has the weights and one scrape has seen them."""
    if world.measured.blind:
        return _blind(run, world, now)
    run = _seeing(run)
    if not settled(run, world, now) or run.settled_from is None:
        return run
    if now - run.settled_from < world.terms.settle + world.terms.scrape:
        return run
    return run.to(
        Stage.JUDGE,
        now,
        run.because if run.hold is Hold.RETREATED else f"judging at {weight_of(run)} %",
        judged_since=now,
        watch=None,
        allocation=(),
        rung_requests=canary_requests(world.measured.verdict),
    )


def judge(run: Run, world: World, now: float) -> Run:
    """Rise on what the rung asks for; otherwise stay, and say what is missing."""
    measured, policy = world.measured, run.policy
    assert policy is not None
    if run.hold is Hold.DRIFTED:
        return _come_back(run, now, calm=not run.reasserted or now - run.reasserted[-1] > 3600)
    if measured.blind:
        return _blind(run, world, now)
    if run.wanted.traffic.weight != weight_of(run):
        return _come_back(_seeing(run), now, calm=True)
    run = _seeing(run)
    accepted = world.deployment is not None and "allocation" in world.deployment.accept
    misallocated = "" if accepted else measured.misallocated
    if misallocated and run.retreated_since is None:
        return _held(run, now, Hold.MISALLOCATED, misallocated)
    if run.wish_pause or (world.deployment is not None and world.deployment.pause):
        limit_passed = run.hold is Hold.PAUSED and now - (run.hold_since or now) > policy.hold_limit
        if limit_passed:
            return fail(run, now, "HoldLimit", f"paused for longer than {policy.hold_limit:.0f} s")
        alarm = f"; {_alarm(run, misallocated)}" if run.retreated_since is not None else ""
        return _held(run, now, Hold.PAUSED, f"paused by request at {weight_of(run)} %{alarm}")
    if run.retreated_since is not None:
        alarm = _alarm(run, misallocated)
        return _overdue(run, now, alarm) or _held(run, now, Hold.RETREATED, alarm)
    missing = _missing(run, world, now) or ("" if measured.fresh else run.because)
    if missing:
        return _stay(run, now, missing)
    return _rise(run, world, now)


def _rise(run: Run, world: World, now: float) -> Run:
    assert run.policy is not None
    weight = weight_of(run)
    because = run.verdict.because if run.verdict else f"nothing against {weight} %"
    steps = run.policy.steps
    run = replace(run, passes=(*run.passes, Pass(run.step, weight, now, because)))
    if run.step + 1 < len(steps):
        return begin_step(run, world, now, run.step + 1)
    return run.to(
        Stage.ROLL,
        now,
        f"passed at {weight} %: {run.target} rolls out while the canary carries the traffic",
        hold=None,
        hold_since=None,
        wanted=replace(run.wanted, paused=False),
    )


def _missing(run: Run, world: World, now: float) -> str:
    """What the rung still asks for before the weight may rise; "" when nothing."""
    policy, verdict = run.policy, run.verdict
    assert policy is not None
    weight = weight_of(run)
    watched = weight > policy.last_judged
    if verdict is None or (watched and run.watch is None):
        if world.measured.silent:
            return f"0 requests to the canary at {weight} %, needs {LEAST_REQUESTS}: {world.measured.silent}"
        return f"no closed interval at {weight} % yet"
    requests = canary_requests(verdict) - run.rung_requests
    if not watched and requests < LEAST_REQUESTS:
        return f"{requests} requests to the canary at {weight} %, needs {LEAST_REQUESTS}"
    if not watched and world.measured.unseen:
        return f"no evidence at {weight} % of {world.measured.unseen}"
    held = now - (run.judged_since or now)
    if held < policy.step_min:
        return f"judging at {weight} %: {policy.step_min - held:.0f} s of {policy.step_min:.0f} s left"
    if weight == policy.last_judged_step and verdict.decision != "promote":
        return f"not yet shown to be safe at {weight} %: {verdict.because}"
    if run.step + 1 == len(policy.steps):
        return ""
    if stable_ready(run, world) < min(run.start_replicas, _stable_wanted(run, world)):
        return f"stable has {stable_ready(run, world)} ready pods, {run.start_replicas} at the start: no rise"
    following = policy.steps[run.step + 1]
    if weight >= policy.last_judged_step:
        return ""
    at_risk = verdict.excess_at_risk * next_traffic(world, following)
    if at_risk > policy.harm_budget:
        return (
            f"a fault still possible could fail {at_risk:.0f} requests at {following} % before it is seen, "
            f"the harm budget is {policy.harm_budget:g}"
        )
    return ""


def _stable_wanted(run: Run, world: World) -> int:
    """Pods that stable should have now: a person or an HPA may have scaled it down on purpose."""
    if run.carrier:
        return world.carrier.replicas if world.carrier else 0
    return world.deployment.replicas if world.deployment else 0


def _alarm(run: Run, misallocated: str) -> str:
    """What is said of an alarm that stands."""
    said = run.verdict.because if run.verdict else "no closed interval yet"
    return "; ".join(filter(None, (alarmed(run, said), misallocated)))


def _stay(run: Run, now: float, missing: str) -> Run:
    return _overdue(run, now, missing) or replace(_unheld(run), because=missing)


def _overdue(run: Run, now: float, missing: str) -> Run | None:
    """The end or the hold of a run whose deadline has passed with something `missing`; None before."""
    assert run.policy is not None
    if now - run.created <= run.policy.deadline:
        return None
    because = f"{missing}; the deadline of {run.policy.deadline:.0f} s has passed: never promoted by default"
    if run.policy.on_inconclusive == "rollback":
        return fail(run, now, "Inconclusive", because)
    return _held(run, now, Hold.INCONCLUSIVE, because)


def _held(run: Run, now: float, hold: Hold, because: str) -> Run:
    since = run.hold_since if run.hold is hold and run.hold_since is not None else now
    return replace(run, hold=hold, hold_since=since, reason=hold.value, because=because)


def _blind(run: Run, world: World, now: float) -> Run:
    """No evidence: hold; after the limit step back to 0 % until Prometheus answers again."""
    policy = run.policy
    assert policy is not None
    since = run.blind_since if run.blind_since is not None else now
    limit = policy.blind_limit
    run = replace(run, blind_since=since)
    run = _held(run, now, Hold.BLIND, f"no evidence: {world.measured.blind}")
    if now - since > limit and run.wanted.traffic.weight > 0:
        return step_aside(run, now, Hold.BLIND, f"{run.because}; for longer than {limit:.0f} s")
    return run


def _seeing(run: Run) -> Run:
    """Prometheus answers: what was held for want of evidence is held no longer."""
    run = replace(run, blind_since=None)
    return replace(_unheld(run), because="measuring again") if run.hold is Hold.BLIND else run


def _unheld(run: Run) -> Run:
    """Without the hold that it had; one that has retreated stays so."""
    if run.retreated_since is None:
        return replace(run, hold=None, hold_since=None, reason="")
    return replace(run, hold=Hold.RETREATED, hold_since=run.retreated_since, reason=Hold.RETREATED.value)


def step_aside(run: Run, now: float, hold: Hold, because: str) -> Run:
    """Hold at 0 %: the canary is kept out of the traffic until the reason is gone."""
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, 0))
    return run.to(
        Stage.JUDGE,
        now,
        f"{because}; the canary waits at 0 %",
        hold=hold,
        hold_since=now,
        reason=hold.value,
        wanted=wanted,
    )


def _come_back(run: Run, now: float, *, calm: bool) -> Run:
    """From 0 % back to the rung that was reached: every rung below it was passed."""
    if not calm:
        return run
    return _unheld(run).to(Stage.SIZE, now, f"back to {weight_of(run)} %")


def record(run: Run, world: World) -> Run:
    """The run with the evidence of this tick."""
    measured = world.measured
    return replace(
        run,
        evidence=measured.evidence if measured.evidence is not None else run.evidence,
        watched=measured.watched if measured.watched is not None else run.watched,
        allocation=measured.allocation if measured.allocation is not None else run.allocation,
        watch=measured.watch if measured.watch is not None else run.watch,
        verdict=measured.verdict if measured.verdict is not None else run.verdict,
    )
