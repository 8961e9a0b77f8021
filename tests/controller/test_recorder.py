"""Recordings reach ConfigMaps in the way of nothing, and repeat what was decided, whatever fails or dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from analysis import Arms, Counts, Interval, Judge, JudgeConfig
from analysis import replay as recordings
from analysis.intervals import Quarantined
from canaryd.cluster.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound, Unreachable
from canaryd.cluster.recordings import read, store
from canaryd.cluster.resources import CANARYRUNS, Json, Resource
from canaryd.cluster.runs import manifest, parse, status
from canaryd.controller.evidence import judge_config, measured
from canaryd.controller.recorder import CHARACTERS, LINES, Recorder
from canaryd.domain.model import Arm, Condition, Form, Run, Stage, Target, Traffic, Wanted
from canaryd.domain.recording import take_in
from config import Policy
from config.metrics import ProportionMetric, ThresholdMetric

POLICY = Policy(
    deadline=100.0,
    ready_timeout=60.0,
    step_min=1.0,
    min_judged=30.0,
    burst_block=20.0,
    metrics=(
        ProportionMetric("orders", 'b{pod=~"$pods"}', 't{pod=~"$pods"}', 0.2),
        ThresholdMetric("depth", "max(d)", at_most=9.0, failures=4),
    ),
)


def a_run(**changes: Any) -> Run:
    run = Run(
        "shop",
        "checkout-1",
        Target("shop", "checkout", "u"),
        "rev",
        created=100.0,
        uid="0123456789",
        stage=Stage.JUDGE,
        policy=POLICY,
        policy_name="standard",
        stable=Arm("checkout", "old", {}, "checkout-abc"),
        wanted=Wanted(traffic=Traffic(Form.SPLIT, 10)),
        judged_since=0.0,
        step=3,
    )
    return replace(run, **changes)


@dataclass
class Cluster:
    """ConfigMaps and one CanaryRun; the next writes of ConfigMaps fail as told, some after they were done."""

    objects: dict[str, Json] = field(default_factory=dict)
    run: Run = field(default_factory=a_run)
    fails: list[tuple[ApiError, bool]] = field(default_factory=list)
    writes: int = 0

    def _write(self, name: str, change: Callable[[], None]) -> Json:
        error, done = self.fails.pop(0) if self.fails else (None, True)
        if done:
            change()
            self.writes += 1
        if error is not None:
            raise error
        return self.objects[name]

    def patch(self, res: Resource, namespace: str, name: str, body: Json) -> Json:
        if name not in self.objects:
            raise NotFound(404, "NotFound", name)
        return self._write(name, lambda: self.objects[name]["binaryData"].update(body["binaryData"]))

    def create(self, res: Resource, namespace: str, body: Json) -> Json:
        name = body["metadata"]["name"]
        if name in self.objects:
            raise AlreadyExists(409, "AlreadyExists", name)
        return self._write(name, lambda: self.objects.update({name: body}))

    def get(self, res: Resource, namespace: str, name: str) -> Json:
        if res == CANARYRUNS:
            body = manifest(self.run)
            return {**body, "metadata": {**body["metadata"], "uid": self.run.uid}, "status": status(self.run)}
        if name not in self.objects:
            raise NotFound(404, "NotFound", name)
        return self.objects[name]

    def recorder(self, clock: Callable[[], float] = time.monotonic) -> Recorder:
        return Recorder(lambda run: store(cast(Any, self), run, {"name": run.name}), clock)

    def lines(self) -> tuple[str, ...]:
        return read(cast(Any, self), "shop", self.run.name)[1]


def with_lines(count: int, **changes: Any) -> Run:
    run = a_run(**changes)
    return replace(run, recorded=replace(run.recorded, lines=tuple(f'{{"n":{i}}}' for i in range(count))))


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestRecorder:
    def test_a_few_lines_wait_in_the_status(self) -> None:
        cluster = Cluster()
        recorder = cluster.recorder()
        recorder.offer(with_lines(LINES - 1))
        recorder.offer(with_lines(LINES))
        until(lambda: cluster.writes)
        recorder.stop()
        (made,) = cluster.objects.values()
        assert made["metadata"]["ownerReferences"] == [{"name": "checkout-1"}]
        assert made["metadata"]["name"] == "checkout-1-recording-01234567-0"
        assert list(made["binaryData"]) == ["00000000.jsonl.gz"]

    def test_few_long_lines_are_written_too(self) -> None:
        cluster = Cluster()
        recorder = cluster.recorder()
        run = a_run()
        recorder.offer(replace(run, recorded=replace(run.recorded, lines=("x" * CHARACTERS,))))
        until(lambda: cluster.writes)
        recorder.stop()

    def test_lines_leave_the_status_when_it_is_written_anyhow(self) -> None:
        cluster = Cluster()
        recorder, run = cluster.recorder(), with_lines(LINES)
        recorder.write(run)
        recorder.offer(run)
        assert recorder.settled(run, 1.0, grows=False) == run
        settled = recorder.settled(run, 1.0, grows=True)
        assert (settled.recorded.lines, settled.recorded.stored) == ((), LINES)
        assert settled.recorded.size > 0
        assert recorder.settled(settled, 1.0, grows=True) == settled
        assert cluster.writes == 1

    def test_what_is_refused_is_a_condition_and_is_tried_again_later(self) -> None:
        now = [0.0]
        cluster = Cluster(fails=[(Forbidden(403, "Forbidden", "no configmaps here", "create", "x"), False)])
        recorder, run = cluster.recorder(lambda: now[0]), with_lines(LINES)
        recorder.write(run)
        failed = recorder.settled(run, 5.0, grows=True)
        assert failed.recorded == run.recorded
        (condition,) = failed.conditions
        assert condition == Condition(
            "Recorded", False, "Forbidden", "create x: 403 Forbidden: no configmaps here", 5.0
        )
        assert recorder.settled(failed, 6.0, grows=True) == failed
        recorder.offer(failed)
        time.sleep(0.05)
        assert cluster.writes == 0
        now[0] = 61.0
        recorder.offer(failed)
        until(lambda: cluster.writes)
        until(lambda: recorder.settled(failed, 70.0, grows=True).conditions[0].status)
        recorder.stop()

    def test_a_slow_api_server_delays_nobody(self) -> None:
        written, release = [], threading.Event()

        def slow(run: Run) -> int:
            release.wait(10)
            written.append(run.uid)
            return 1

        recorder = Recorder(slow)
        began = time.monotonic()
        for uid in ("a", "b", "c", "a"):
            recorder.offer(with_lines(LINES, uid=uid))
            recorder.settled(with_lines(LINES, uid=uid), 1.0, grows=True)
        assert time.monotonic() - began < 1
        release.set()
        until(lambda: {"a", "b", "c"} <= set(written))
        recorder.stop()

    def test_a_batch_that_is_written_again_with_one_line_more_brings_no_line_twice(self) -> None:
        """The second write was offered before the first was done, and is done after its lines have left the status."""
        cluster = Cluster()
        recorder, longer = cluster.recorder(), with_lines(LINES + 1)
        recorder.write(with_lines(LINES))
        cluster.run = recorder.settled(longer, 1.0, grows=True)
        assert len(cluster.run.recorded.lines) == 1
        recorder.write(longer)
        assert cluster.lines() == longer.recorded.lines
        cluster.run = recorder.settled(cluster.run, 2.0, grows=True)
        recorder.write(cluster.run)
        cluster.run = recorder.settled(cluster.run, 3.0, grows=True)
        assert (cluster.run.recorded.lines, cluster.run.recorded.stored) == ((), LINES + 1)
        assert cluster.lines() == longer.recorded.lines

    def test_an_error_of_our_own_ends_only_that_write(self) -> None:
        written: list[str] = []

        def broken(run: Run) -> int:
            if run.uid == "a":
                raise KeyError("a")
            written.append(run.uid)
            return 1

        recorder = Recorder(broken)
        recorder.offer(with_lines(LINES, uid="a"))
        until(lambda: not recorder._waiting)
        recorder.offer(with_lines(LINES, uid="b"))
        until(lambda: written == ["b"])
        recorder.stop()


def an_interval(start: float, end: float, weight: float, canary_bad: int, depth: float | None) -> Interval:
    arms = ({"c": Counts(60, canary_bad, (50, 10))}, {"b": Counts(240, 3, (200, 40))})
    custom = Arms({"c": Counts(20, canary_bad // 2)}, {"b": Counts(80, 1)})
    return Interval(start, end, weight, *arms, (0.1,), {"orders": custom}, {"depth": depth})


class Recording(RuleBasedStateMachine):
    """A run as the daemon leads it, while saves lose, ConfigMaps are refused, answers get lost and it dies."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.recorder = self.cluster.recorder()
        self.waiting: list[Interval | Quarantined] = []
        self.now = 150.0

    @rule(
        seconds=st.sampled_from([5.0, 10.0]),
        bad=st.integers(0, 20),
        depth=st.sampled_from([None, 1.0, 12.5]),
        reason=st.sampled_from(["", "", "", "WeightChange", "WarmUp"]),
        weight=st.sampled_from([0.1, 0.25]),
    )
    def an_interval_closes(
        self, seconds: float, bad: int, depth: float | None, reason: str, weight: float
    ) -> None:
        interval = an_interval(self.now, self.now + seconds, weight, bad, depth)
        self.waiting.append(Quarantined(reason, "because", interval) if reason else interval)
        self.now += seconds

    @rule(edges=st.booleans())
    def one_that_the_judge_refuses(self, edges: bool) -> None:
        refused = replace(
            an_interval(self.now, self.now + 5, 0.1, 1, None), edges=(0.2,) if edges else (0.3,)
        )
        self.waiting.append(refused)
        self.now += 5

    @rule()
    def one_that_was_taken_in_before_a_restart(self) -> None:
        self.waiting.append(an_interval(self.now - 12, self.now - 2, 0.1, 3, None))

    @rule(
        saves=st.sampled_from([True, True, False]),
        stage=st.sampled_from([Stage.JUDGE, Stage.JUDGE, Stage.SHIFT, Stage.CONFIRM]),
    )
    def a_pass(self, saves: bool, stage: Stage) -> None:
        kept = replace(self.cluster.run, stage=stage)
        seen = measured(kept, tuple(self.waiting), self.now, rate=1.0, share=None)
        run = self.recorder.settled(kept, self.now, grows=bool(seen.lines))
        run = take_in(run, seen, self.now)
        if not saves:
            return  # another writer was first
        # What is saved is what the API server has: text, read back.
        self.cluster.run = run
        self.cluster.run = parse(self.cluster.get(CANARYRUNS, "shop", run.name))
        self.waiting.clear()

    @rule(outcome=st.sampled_from(["stored", "stored", "refused", "the answer is lost", "raced"]))
    def lines_are_written(self, outcome: str) -> None:
        if not self.cluster.run.recorded.lines:
            return
        fails: dict[str, list[tuple[ApiError, bool]]] = {
            "stored": [],
            "refused": [(Forbidden(403, "Forbidden", "quota"), False)],
            "the answer is lost": [(Unreachable(0, "Unreachable", "reset", ambiguous=True), True)],
            "raced": [(Conflict(409, "Conflict", "again"), False)],
        }
        self.cluster.fails = fails[outcome]
        stored = self.recorder._stored.get(self.cluster.run.uid)
        if stored is None or stored.first != self.cluster.run.recorded.stored:
            self.recorder.write(self.cluster.run)

    @rule(stored=st.booleans())
    def a_tick_goes_well(self, stored: bool) -> None:
        self.an_interval_closes(10.0, 1, 1.0, "", 0.1)
        self.a_pass(True, Stage.JUDGE)
        if stored:
            self.lines_are_written("stored")

    @rule()
    def canaryd_dies(self) -> None:
        self.recorder = self.cluster.recorder()
        self.waiting.clear()

    @invariant()
    def the_recording_leads_to_the_runs_state(self) -> None:
        lines, run = self.cluster.lines(), self.cluster.run
        if not lines:
            assert run.evidence is None
            return
        recording = recordings.read(lines)
        assert recording.header == recordings.Header(
            "shop/checkout-1", judge_config(POLICY), "standard", 100.0
        )
        moments = list(recordings.replay(recording, recording.header.judge))
        assert [moment.record for moment in moments if moment.differs] == []
        assert moments[-1].state == run.evidence
        assert moments[-1].state.to_json() == run.evidence.to_json()


TestRecording = Recording.TestCase
TestRecording.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_decisions_are_in_the_recording() -> None:
    """Every decision that a status had, from the first interval to the rollback."""
    run, said = a_run(), []
    for i in range(12):
        interval = an_interval(150.0 + 10 * i, 160.0 + 10 * i, 0.1, 25, 1.0)
        seen = measured(run, (interval,), 160.0 + 10 * i, rate=1.0, share=None)
        assert seen.verdict is not None
        said.append(seen.verdict.decision)
        run = take_in(run, seen, 160.0 + 10 * i)
    recorded = recordings.read(run.recorded.lines)
    assert [record.decision for record in recorded.records] == said
    assert {"retreat", "rollback"} & set(said)
    assert Judge(JudgeConfig()).start() != run.evidence
