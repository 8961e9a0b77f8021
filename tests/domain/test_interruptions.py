"""Releases interrupted by everything at any moment, the run read back from its object on every pass.

The invariants of Play hold on every write, and when the interruptions stop the cluster ends clean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stage_play import OLD, POLICY, Play, fresh_run, read_back, verdict

from canaryd.controller.caretaker import inherit
from canaryd.domain.model import Form, Run, Traffic
from canaryd.domain.world import CanaryView, Measured

Deed = Callable[[Play, Run], Run]


def _new_template(play: Play, run: Run) -> Run:
    play.revision = f"{int(play.now * 10):010d}"
    return run


def _set_back(play: Play, run: Run) -> Run:
    play.revision = OLD
    return run


def _unpause(play: Play, run: Run) -> Run:
    play.paused = False
    return run


def _edit_weights(play: Play, run: Run) -> Run:
    if play.traffic.form is Form.SPLIT:
        play.traffic, play.by = Traffic(Form.SPLIT, 73), "kubectl-edit at noon"
    return run


def _disable(play: Play, run: Run) -> Run:
    play.enabled = False
    return run


def _harm(play: Play, run: Run) -> Run:
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"), fresh=True)
    return run


def _alarm(play: Play, run: Run) -> Run:
    play.measured = lambda _: Measured(verdict=verdict("retreat", int(100 * play.now)), fresh=True)
    return run


def _blind(play: Play, run: Run) -> Run:
    play.measured = lambda _: Measured(blind="Prometheus is down")
    return run


def _see_again(play: Play, run: Run) -> Run:
    play.measured = None
    return run


def _no_pod_ready(play: Play, run: Run) -> Run:
    play.canary_view = lambda n: CanaryView(n, 0, ("c0",))
    return run


def _pods_ready(play: Play, run: Run) -> Run:
    play.canary_view = Play().canary_view
    return run


def _abort(_: Play, run: Run) -> Run:
    return replace(run, wish_abort="on second thoughts")


def _pause(_: Play, run: Run) -> Run:
    return replace(run, wish_pause=not run.wish_pause)


def _delete_deployment(play: Play, run: Run) -> Run:
    play.deleted, play.pods = True, {}
    return run


def _delete_routes(play: Play, run: Run) -> Run:
    play.route_gone, play.traffic = True, Traffic()
    return run


def _scale_to_zero(play: Play, run: Run) -> Run:
    play.replicas, play.pods = 0, {}
    return run


# Three steps, so that a second run and a third have time; the rollout is in passes 57 to 60.
GROUND = replace(Play().ground, policy=replace(POLICY, steps=(5, 50, 100), step_min=2))

DEEDS: tuple[Deed, ...] = (
    _new_template,
    _set_back,
    _unpause,
    _edit_weights,
    _disable,
    _harm,
    _alarm,
    _blind,
    _see_again,
    _no_pod_ready,
    _pods_ready,
    _abort,
    _pause,
    _scale_to_zero,
    _delete_deployment,
    _delete_routes,
)


JUDGE: tuple[Deed, ...] = (_alarm, _alarm, _see_again, _blind, _harm)
"""What the judge may say: an alarm, that it is cleared, nothing, that it is confirmed."""

LAST = 260  # the pass after which nobody interferes any more
PASSES = st.integers(0, 220) | st.integers(56, 64)
RELEASES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@RELEASES
@given(
    st.lists(st.tuples(PASSES, st.sampled_from(DEEDS)), max_size=5),
    st.dictionaries(PASSES, st.integers(0, 3), max_size=3),
)
def test_every_interruption_ends_clean(story: list[tuple[int, Deed]], kills: dict[int, int]) -> None:
    assert_ends_clean(story, kills)


@RELEASES
@given(
    st.lists(st.tuples(PASSES, st.sampled_from(JUDGE)), min_size=1, max_size=8),
    st.lists(st.tuples(PASSES, st.sampled_from(DEEDS)), max_size=2),
    st.dictionaries(PASSES, st.integers(0, 3), max_size=3),
)
def test_every_stream_of_verdicts_ends_clean(
    verdicts: list[tuple[int, Deed]], story: list[tuple[int, Deed]], kills: dict[int, int]
) -> None:
    assert_ends_clean([*verdicts, *story], kills)


def _next_run(play: Play, after: Run) -> Run:
    """What the controller begins after a run that handed on: for the template that is there, or to put away."""
    revision = after.revision if play.deleted else play.revision
    run = inherit(fresh_run(name=f"{after.name}-2", revision=revision, created=play.now), after)
    if run.carrier != after.carrier:
        assert play.carrier is None, "two carriers"
        play.carrier, play.canary = play.canary, None
    return run


def assert_ends_clean(story: list[tuple[int, Deed]], kills: dict[int, int]) -> None:
    """Play a release with `story`'s deeds at their passes, killed in others after so many writes."""
    play, run = Play(ground=GROUND), fresh_run()
    for at in range(6000):
        for deed in [deed for when, deed in story if when == at]:
            run = deed(play, run)
        if at == LAST:
            play.measured, play.canary_view = None, Play().canary_view
            run = replace(run, wish_pause=False)
        run = play.step(read_back(run), killed_after=kills.get(at))
        if run.hands_on:
            run = _next_run(play, run)
        if not run.active:
            break
    assert not run.active, f"stuck at {run.stage}: {run.because}"
    assert play.traffic == Traffic()
    assert play.subsets == {}
    assert play.canary is None
    assert play.carrier is None
