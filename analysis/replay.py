"""Recorded intervals: what a run was judged on, kept so that its decisions can be repeated, and others tried.

A recording is text in UTF-8, one JSON object per line:

    {"version": 1, "run": "shop/checkout-fff627b5cb", "judge": {"alpha": 0.01, ...}, "policy": "standard",
     "created": 1764000000.0}
    {"interval": {"start": 1764000300.0, "end": 1764000315.0, "weight": 0.01,
                  "canary": {"checkout-1": {"requests": 45, "errors": 1}}, "baseline": {...}},
     "decision": "continue"}
    {"interval": {...}, "quarantined": "WeightChange", "because": "the interval touches a change of ..."}

The header names the run and has every knob of the JudgeConfig it was judged by. Then every interval in the
order of time, with the decision that followed it where one did. A quarantined interval was counted and not
judged, for the reason given: the judge skips it. So the judge's state after each line is the run's, bit for bit.
Fields that are at their default are left out; any other field is an error, so that nothing that was recorded is
silently ignored.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from analysis.counts import Interval
from analysis.errors import AnalysisError, BadConfig, BadCounts, shown
from analysis.judge import Judge
from analysis.judge_config import JudgeConfig
from analysis.state import JudgeState
from analysis.verdict import Decision, Verdict

VERSION: Final = 1
DECISIONS: Final[tuple[str, ...]] = typing.get_args(Decision)

T = TypeVar("T")


class BadRecording(AnalysisError):  # noqa: N818  named like its siblings in analysis.errors
    """A line that is no line of a recording; `line` counts from 1, `field` is a path such as "interval.end"."""

    def __init__(self, line: int, field: str, value: object, allowed: str) -> None:
        self.line = line
        self.field = field
        self.value = value
        super().__init__(f"line {line}: {field}: {shown(value)} is not {allowed}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a recording is of: the run, the judge's configuration, the policy's name, the start of the run.

    created: seconds since the epoch; the deadline (`judge.horizon`) counts from it. 0: not known, then it
    counts from the first interval.
    """

    run: str
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    policy: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Record:
    """One interval; either judged, with the decision that followed ("" where none was recorded), or not.

    quarantined: one word, such as "WeightChange", "WarmUp" or "Watched" (above the last judged step), "" for
    an interval that was judged; because: one sentence.
    """

    interval: Interval
    quarantined: str = ""
    because: str = ""
    decision: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """A header and its records, in the order of time."""

    header: Header
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What the judge says now of a recorded interval, and its state after it; `verdict` is None for one that is
    quarantined."""

    record: Record
    state: JudgeState
    verdict: Verdict | None

    @property
    def differs(self) -> bool:
        """Whether another decision was recorded."""
        recorded = self.record.decision
        return self.verdict is not None and bool(recorded) and recorded != self.verdict.decision


def header_line(header: Header) -> str:
    """The first line of a recording, without its line break."""
    return _line({"version": VERSION, **_encoded(header), "judge": header.judge.to_json()})


def record_line(record: Record) -> str:
    """A further line, without its line break."""
    return _line(_encoded(record))


def read(lines: Iterable[str | bytes]) -> Recording:
    """The recording that `lines` hold. Raises BadRecording."""
    header: Header | None = None
    records: list[Record] = []
    for number, text in enumerate(lines, 1):
        raw = _parsed(text, number)
        if header is None:
            header = _header(raw, number)
            continue
        record = _record(raw, number)
        if records and record.interval.start < records[-1].interval.end:
            allowed = f"at or after the end of the interval before it, {records[-1].interval.end!r}"
            raise BadRecording(number, "interval.start", record.interval.start, allowed)
        records.append(record)
    if header is None:
        raise BadRecording(1, "header", "", "a recording: there is no line at all")
    return Recording(header, tuple(records))


def replay(recording: Recording, config: JudgeConfig) -> Iterator[Moment]:
    """Judge the recorded intervals one by one, by `config`. Raises BadRecording where one cannot be judged."""
    judge = Judge(config)
    state = judge.start()
    since = recording.header.created or (recording.records[0].interval.start if recording.records else 0.0)
    for number, record in enumerate(recording.records, 2):
        if record.quarantined:
            state = judge.skip(state, record.quarantined)
            yield Moment(record, state, None)
            continue
        try:
            state = judge.update(state, record.interval)
        except BadCounts as error:
            raise BadRecording(number, error.field, error.value, error.allowed) from error
        late = record.interval.end - since > config.horizon
        yield Moment(record, state, said(judge, state, late=late))


def said(judge: Judge, state: JudgeState, *, late: bool) -> Verdict:
    """The verdict of a run; that its deadline has passed (`late`) hides no alarm."""
    verdict = judge.verdict(state)
    if late and verdict.decision == "continue":
        return judge.verdict(state, deadline_passed=True)
    return verdict


def _line(raw: Mapping[str, Any]) -> str:
    return json.dumps(raw, separators=(",", ":"), allow_nan=False)


def _encoded(value: Any) -> Any:
    """JSON of dataclasses, mappings, tuples, numbers and text; fields at their default are left out, NaN is null."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: _encoded(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if getattr(value, f.name) != _default(f)
        }
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encoded(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _default(one: dataclasses.Field[Any]) -> Any:
    return one.default_factory() if one.default_factory is not dataclasses.MISSING else one.default


def _parsed(text: str | bytes, line: int) -> Mapping[str, Any]:
    try:
        text = text.decode() if isinstance(text, bytes) else text
        raw = json.loads(text, parse_constant=_refused, object_pairs_hook=_unrepeated)
    except (ValueError, RecursionError) as error:
        raise BadRecording(line, "line", text, f"a JSON object ({error})") from None
    if not isinstance(raw, dict):
        raise BadRecording(line, "line", raw, "a JSON object")
    return raw


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _header(raw: Mapping[str, Any], line: int) -> Header:
    if raw.get("version") != VERSION or isinstance(raw["version"], bool):
        raise BadRecording(line, "version", raw.get("version"), f"{VERSION}, the version that can be read")
    if "judge" not in raw:
        raise BadRecording(line, "judge", None, "there")
    try:
        judge = JudgeConfig.from_json(raw["judge"])
    except BadConfig as error:
        raise BadRecording(line, f"judge.{error.field}", error.value, error.allowed) from error
    plain = {key: value for key, value in raw.items() if key not in {"version", "judge"}}
    header = _decoded(Header, plain, "header", line)
    return dataclasses.replace(header, judge=judge)


def _record(raw: Mapping[str, Any], line: int) -> Record:
    record = _decoded(Record, raw, "", line)
    if record.decision and record.decision not in DECISIONS:
        raise BadRecording(line, "decision", record.decision, f"one of {', '.join(DECISIONS)}")
    if record.decision and record.quarantined:
        raise BadRecording(line, "decision", record.decision, "there where the interval is quarantined")
    return record


def _decoded(cls: type[T], raw: object, where: str, line: int) -> T:
    """The dataclass whose `_encoded` is `raw`."""
    if not isinstance(raw, Mapping):
        raise BadRecording(line, where, raw, "a JSON object")
    hints = _hints(typing.cast(Any, cls))
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls))}
    for key in raw:
        if key not in fields:
            raise BadRecording(line, _below(where, key), raw[key], f"a field; known are {', '.join(fields)}")
    for name, one in fields.items():
        if name not in raw and _default(one) is dataclasses.MISSING:
            raise BadRecording(line, _below(where, name), None, "there")
    values = {key: _value(hints[key], item, _below(where, key), line) for key, item in raw.items()}
    try:
        return cls(**values)
    except BadCounts as error:
        raise BadRecording(line, _below(where, error.field), error.value, error.allowed) from error


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


@functools.cache
def _hints(cls: Any) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def _value(hint: Any, raw: object, where: str, line: int) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        if raw is None and type(None) in arguments:
            return None
        (only,) = (argument for argument in arguments if argument is not type(None))
        return _value(only, raw, where, line)
    if dataclasses.is_dataclass(hint):
        return _decoded(typing.cast("type[Any]", hint), raw, where, line)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(raw, Mapping):
            raise BadRecording(line, where, raw, "a JSON object")
        return {key: _value(arguments[1], item, f"{where}[{key!r}]", line) for key, item in raw.items()}
    if origin is tuple:
        return _tuple(arguments, raw, where, line)
    return _scalar(hint, raw, where, line)


def _tuple(arguments: tuple[Any, ...], raw: object, where: str, line: int) -> tuple[Any, ...]:
    if not isinstance(raw, list):
        raise BadRecording(line, where, raw, "a list")
    hints = arguments[:1] * len(raw) if arguments[-1] is Ellipsis else arguments
    if len(hints) != len(raw):
        raise BadRecording(line, where, raw, f"a list of {len(hints)}")
    return tuple(
        _value(hint, item, f"{where}[{i}]", line)
        for i, (hint, item) in enumerate(zip(hints, raw, strict=True))
    )


def _scalar(hint: Any, raw: object, where: str, line: int) -> Any:
    if hint in {str, bool}:
        if isinstance(raw, hint):
            return raw
        raise BadRecording(line, where, raw, "text" if hint is str else "true or false")
    allowed = "a finite number" if hint is float else "a whole number"
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise BadRecording(line, where, raw, allowed)
    try:
        number = hint(raw)
    except (OverflowError, ValueError):  # 1e400, or an integer beyond every double
        raise BadRecording(line, where, raw, allowed) from None
    if not math.isfinite(number) or number != raw:
        raise BadRecording(line, where, raw, allowed)
    return number
