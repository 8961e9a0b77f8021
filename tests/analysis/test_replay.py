"""Recordings: what is written is read back, what cannot be true is refused, and a replay repeats the run."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import Counts, Interval, Judge, JudgeConfig
from analysis import replay as recordings
from analysis.replay import BadRecording, Header, Record, Recording, header_line, read, record_line

CONFIG = JudgeConfig(latency_weight=0.0, min_judged=30.0)


def lines(recording: Recording) -> list[str]:
    return [header_line(recording.header), *map(record_line, recording.records)]


def release(lift: float, seed: int = 1, config: JudgeConfig = CONFIG) -> Recording:
    """Four minutes at 20 %, 300 requests a second, 1 % errors before; with the decisions of that time."""
    rng, judge = np.random.default_rng(seed), Judge(config)
    state, records = judge.start(), []
    for at in range(0, 240, 15):
        arms = {"c": Counts(900, int(rng.binomial(900, 0.01 * lift)))}, {"b": Counts(3600, 36)}
        interval = Interval(1000.0 + at, 1015.0 + at, 0.2, *arms)
        if at < 30:
            records.append(Record(interval, "WarmUp", "the canary's pods are younger than 30 s"))
            continue
        state = judge.update(state, interval)
        records.append(Record(interval, decision=judge.verdict(state).decision))
    return Recording(Header("shop/checkout-1", config, "standard", 990.0), tuple(records))


counts = st.builds(
    lambda requests, errors, latency: Counts(requests, min(errors, requests), latency),
    st.integers(0, 10**9),
    st.integers(0, 10**9),
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9)) | st.just(()),
)
arms = st.dictionaries(st.text(max_size=8), counts, max_size=3)


@given(arms, arms, st.floats(0, 1), st.floats(0, 1e9), st.text(max_size=20))
def test_what_is_written_is_read_back(
    canary: dict[str, Counts], baseline: dict[str, Counts], weight: float, start: float, run: str
) -> None:
    interval = Interval(start, start + 15, weight, canary, baseline, (0.1, 0.2))
    recording = Recording(
        Header(run, JudgeConfig(alpha=0.003, slow_edges=(0.1,)), "standard", start),
        (Record(interval, decision="continue"),),
    )
    written = lines(recording)
    assert all("\n" not in line for line in written)
    assert read(written) == recording
    assert read([line.encode() + b"\n" for line in written]) == recording


def test_a_replay_repeats_the_decisions_of_the_run() -> None:
    recording = release(lift=3.0)
    moments = list(recordings.replay(recording, recording.header.judge))
    assert [m.record.quarantined for m in moments if m.verdict is None] == ["WarmUp", "WarmUp"]
    assert not any(moment.differs for moment in moments)
    assert [m.verdict.decision for m in moments if m.verdict][-1] in {"retreat", "rollback"}


def test_another_alpha_decides_later_and_the_difference_is_seen() -> None:
    recording = release(lift=2.5)
    stern = dataclasses.replace(CONFIG, alpha=1e-6)

    def first_alarm(config: JudgeConfig) -> int:
        moments = recordings.replay(recording, config)
        return next(
            i for i, m in enumerate(moments) if m.verdict and m.verdict.decision in {"retreat", "rollback"}
        )

    assert first_alarm(stern) > first_alarm(CONFIG)
    assert any(moment.differs for moment in recordings.replay(recording, stern))


def test_a_decision_that_was_not_recorded_cannot_differ() -> None:
    recording = release(lift=3.0)
    silent = Recording(
        recording.header, tuple(dataclasses.replace(record, decision="") for record in recording.records)
    )
    assert not any(
        moment.differs for moment in recordings.replay(silent, dataclasses.replace(CONFIG, alpha=0.1))
    )


def test_past_the_deadline_a_run_without_proof_is_inconclusive() -> None:
    config = dataclasses.replace(CONFIG, horizon=60.0, min_judged=86400.0)
    recording = release(lift=1.0, config=config)
    moments = [m for m in recordings.replay(recording, config) if m.verdict]
    decisions = {m.record.interval.end - 990.0: m.verdict.decision for m in moments if m.verdict}
    assert decisions[55.0] == "continue"
    assert decisions[70.0] == "inconclusive"


def changed(line: str, path: Sequence[str | int], value: Any) -> str:
    """The JSON line with one value replaced, or removed by `...`."""
    document = json.loads(line)
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(document)


CANARY = ("interval", "canary", "c")

REFUSED: dict[str, tuple[int, Sequence[str | int], Any, str]] = {
    "another version": (0, ["version"], 2, "version"),
    "no version": (0, ["version"], ..., "version"),
    "a version that is true": (0, ["version"], True, "version"),
    "no run": (0, ["run"], ..., "header.run"),
    "a run that is a number": (0, ["run"], 7, "header.run"),
    "no judge": (0, ["judge"], ..., "judge"),
    "an unknown knob": (0, ["judge", "gamma"], 1, "judge.gamma"),
    "a knob out of range": (0, ["judge", "alpha"], 0.5, "judge.alpha"),
    "an unknown field of the header": (0, ["colour"], "red", "header.colour"),
    "a start of the run in words": (0, ["created"], "today", "header.created"),
    "no interval": (3, ["interval"], ..., "interval"),
    "an interval that is a list": (3, ["interval"], [], "interval"),
    "an unknown field": (3, ["colour"], "red", "colour"),
    "an unknown field of the interval": (3, ["interval", "colour"], "red", "interval.colour"),
    "no end": (3, ["interval", "end"], ..., "interval.end"),
    "an end before the start": (3, ["interval", "end"], 5.0, "interval.end"),
    "an interval that overlaps the one before": (3, ["interval", "start"], 1010.0, "interval.start"),
    "a weight above one": (3, ["interval", "weight"], 1.5, "interval.weight"),
    "a weight in words": (3, ["interval", "weight"], "0.2", "interval.weight"),
    "an endless number": (3, ["interval", "end"], 10**400, "interval.end"),
    "pods in a list": (3, ["interval", "canary"], [], "interval.canary"),
    "counts that are a number": (3, list(CANARY), 7, "interval.canary['c']"),
    "half a request": (3, [*CANARY, "requests"], 0.5, "interval.canary['c'].requests"),
    "a negative count": (3, [*CANARY, "requests"], -1, "interval.canary['c'].requests"),
    "more errors than requests": (3, [*CANARY, "errors"], 901, "interval.canary['c'].errors"),
    "true as a count": (3, [*CANARY, "errors"], True, "interval.canary['c'].errors"),
    "no requests": (3, [*CANARY, "requests"], ..., "interval.canary['c'].requests"),
    "a bucket that is text": (3, [*CANARY, "latency"], ["1"], "interval.canary['c'].latency[0]"),
    "buckets without edges": (3, [*CANARY, "latency"], [1, 2], "interval.canary['c'].latency"),
    "a decision that there is not": (3, ["decision"], "maybe", "decision"),
    "a decision on a quarantined interval": (1, ["decision"], "continue", "decision"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_line_that_cannot_be_true_is_named_with_its_field(case: str) -> None:
    index, path, value, named = REFUSED[case]
    text = lines(release(lift=1.0))
    text[index] = changed(text[index], path, value)
    with pytest.raises(BadRecording) as caught:
        read(text)
    assert (caught.value.line, caught.value.field) == (index + 1, named)
    assert str(caught.value).startswith(f"line {index + 1}: {named}: ")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"version": 1, "run": "a", "run": "b"}',
        '{"version": NaN}',
        b"\xff{}",
        "[" * 100_000,
    ],
)
def test_text_that_is_no_recording_is_refused_in_its_line(text: str | bytes) -> None:
    with pytest.raises(BadRecording) as caught:
        read([text])
    assert caught.value.line == 1
    assert len(str(caught.value)) < 500


def test_a_recording_that_was_cut_is_refused_at_the_cut() -> None:
    whole = lines(release(lift=1.0))
    with pytest.raises(BadRecording, match="line 5"):
        read([*whole[:4], whole[4][:40]])
    with pytest.raises(BadRecording, match="no line at all"):
        read([])


def test_an_interval_that_the_judge_refuses_is_named_by_its_line() -> None:
    interval = Interval(0, 15, 0.2, {"c": Counts(9, 0, (5, 4))}, {"b": Counts(9, 0, (5, 4))}, (0.1,))
    recording = Recording(Header("r"), (Record(interval),))
    with pytest.raises(BadRecording, match="line 2: slow_edges"):
        list(recordings.replay(recording, JudgeConfig(slow_edges=(0.3,))))


@dataclass(frozen=True, slots=True)
class Extended:
    """What an interval may yet become: the format follows the dataclass."""

    start: float
    pairs: dict[str, tuple[int, int]] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)


def test_the_format_follows_the_fields_of_the_dataclass() -> None:
    wide = Extended(1.0, {"orders": (3, 90)}, {"queue": None, "lag": 0.5})
    raw = json.loads(recordings._line(recordings._encoded(wide)))
    assert raw == {"start": 1.0, "pairs": {"orders": [3, 90]}, "values": {"queue": None, "lag": 0.5}}
    assert recordings._decoded(Extended, raw, "x", 1) == wide
    with pytest.raises(BadRecording, match=r"x\.pairs\['orders'\]: .* a list of 2"):
        recordings._decoded(Extended, {"start": 1, "pairs": {"orders": [1, 2, 3]}}, "x", 1)
