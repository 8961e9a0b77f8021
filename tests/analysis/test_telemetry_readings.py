"""From Prometheus' raw series to integer deltas per pod: every trap has its case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from analysis import Counts
from analysis.errors import BadCounts, EdgesDiffer
from analysis.readings import PodDelta, common_edges, deltas
from analysis.telemetry import (
    BUCKETS,
    REQUESTS,
    PodReading,
    SeriesId,
    WorkloadRef,
    by_workload,
    selector,
    whole,
)

SHOP = WorkloadRef("shop", "checkout")


def sid(code: str = "200", flags: str = "-", grpc: str = "", protocol: str = "http") -> SeriesId:
    return SeriesId(code, flags, grpc, (("request_protocol", protocol),))


OK, FAILED = sid(), sid("503", "UF")


def reading(
    time: float, requests: Mapping[SeriesId, int], target: tuple[str, ...] = ("j", "i")
) -> PodReading:
    return PodReading(time, requests, target=target)


class TestClassification:
    @pytest.mark.parametrize(
        ("series", "counted", "failed"),
        [
            (sid("200"), True, False),
            (sid("404"), True, False),
            (sid("500"), True, True),
            (sid("503", "UF,URX"), True, True),
            (sid("0", "DC"), False, True),
            (sid("0", "DC,UC"), False, True),
            (sid("0", "UC"), True, True),
            (sid("200", "-", "14", "grpc"), True, True),
            (sid("200", "-", "5", "grpc"), True, False),
            (sid("200", "-", "0", "grpc"), True, False),
            (sid("200", "-", "14", "http"), True, False),
            (sid("503", "UH", "14", "grpc"), True, True),
        ],
    )
    def test_what_counts_and_what_failed(self, series: SeriesId, counted: bool, failed: bool) -> None:
        assert (series.counted, series.failed) == (counted, failed)


def before_and_after(
    before: PodReading | None, now: PodReading | None, *, born: bool = False
) -> tuple[Counts, tuple[float, float]] | None:
    pods = deltas(
        {} if before is None else {"p": before},
        {} if now is None else {"p": now},
        since=100.0,
        born={"p": 0.0} if born else None,
    )
    delta = pods.get("p")
    return None if delta is None else (delta.counts, (delta.start, delta.end))


OLD = reading(100, {OK: 50, FAILED: 5})

CASES: dict[str, tuple[dict[str, Any], tuple[Counts, tuple[float, float]] | None]] = {
    "plain growth": (
        {"before": OLD, "now": reading(110, {OK: 60, FAILED: 7})},
        (Counts(12, 2), (100, 110)),
    ),
    "nothing happened": (
        {"before": OLD, "now": reading(110, {OK: 50, FAILED: 5})},
        (Counts(0, 0), (100, 110)),
    ),
    "no new scrape: no contribution now": ({"before": OLD, "now": OLD}, None),
    "an older scrape: no contribution": ({"before": OLD, "now": reading(90, {OK: 50, FAILED: 5})}, None),
    "a scrape was missed: the delta spans both": (
        {"before": reading(85, {OK: 10}), "now": reading(115, {OK: 40})},
        (Counts(30, 0), (85, 115)),
    ),
    "a new pod of the run started at zero": (
        {"before": None, "now": reading(110, {OK: 8, FAILED: 3}), "born": True},
        (Counts(11, 3), (100, 110)),
    ),
    "an unknown pod's first reading is a base line": (
        {"before": None, "now": reading(110, {OK: 8, FAILED: 3})},
        None,
    ),
    "a new series of a known pod started at zero": (
        {"before": reading(100, {OK: 50}), "now": reading(110, {OK: 55, FAILED: 4})},
        (Counts(9, 4), (100, 110)),
    ),
    "a vanished series contributes nothing": (
        {"before": OLD, "now": reading(110, {OK: 55})},
        (Counts(5, 0), (100, 110)),
    ),
    "a vanished pod contributes nothing": ({"before": OLD, "now": None}, None),
    "after a restart the span is left out": ({"before": OLD, "now": reading(110, {OK: 7, FAILED: 2})}, None),
    "so it is when only good requests fell": (
        {"before": OLD, "now": reading(110, {OK: 7, FAILED: 9})},
        None,
    ),
    "and when only failed ones did: an idle series was evicted and came back": (
        {"before": OLD, "now": reading(110, {OK: 60, FAILED: 1})},
        None,
    ),
    "another target is a base line": (
        {"before": OLD, "now": reading(110, {OK: 5000}, ("j", "other"))},
        None,
    ),
    "a client that left is no request": (
        {"before": OLD, "now": reading(110, {OK: 51, FAILED: 5, sid("0", "DC"): 9})},
        (Counts(1, 0), (100, 110)),
    ),
}


@pytest.mark.parametrize(("given", "grown"), CASES.values(), ids=CASES.keys())
def test_deltas(given: dict[str, Any], grown: tuple[Counts, tuple[float, float]] | None) -> None:
    assert before_and_after(**given) == grown


class TestHistograms:
    EDGES = (0.025, 0.1)

    def histogram(self, time: float, buckets: Mapping[SeriesId, tuple[int, ...]]) -> PodReading:
        return PodReading(time, {OK: 100 + int(time)}, buckets, self.EDGES, ("j", "i"))

    def test_buckets_are_not_cumulative_and_only_of_successes(self) -> None:
        before = self.histogram(0, {OK: (10, 15, 20)})
        now = self.histogram(
            10, {OK: (12, 19, 29), sid("404"): (1, 1, 1), sid("200", grpc="2", protocol="grpc"): (9, 9, 9)}
        )
        assert deltas({"p": before}, {"p": now}, since=0)["p"].counts.latency == (3, 2, 5)

    def test_a_fall_in_one_bucket_discards_the_pod(self) -> None:
        before, now = self.histogram(0, {OK: (10, 15, 20)}), self.histogram(10, {OK: (9, 15, 30)})
        assert deltas({"p": before}, {"p": now}, since=0) == {}

    def test_counts_that_are_not_cumulative_are_refused(self) -> None:
        before, now = self.histogram(0, {OK: (10, 15, 20)}), self.histogram(10, {OK: (19, 15, 30)})
        with pytest.raises(BadCounts, match="cumulative"):
            deltas({"p": before}, {"p": now}, since=0)

    def test_edges_that_change_are_refused(self) -> None:
        now = PodReading(10, {OK: 200}, {OK: (1, 2)}, (0.05,), ("j", "i"))
        with pytest.raises(EdgesDiffer, match="pod 'p'"):
            deltas({"p": self.histogram(0, {OK: (1, 1, 1)})}, {"p": now}, since=0)

    def test_both_arms_must_have_the_same_edges(self) -> None:
        one, other = PodDelta(0, 1, Counts(1, 0), (0.1,)), PodDelta(0, 1, Counts(1, 0), (0.2,))
        bare = PodDelta(0, 1, Counts(1, 0))
        assert common_edges({"a": one, "x": bare}, {"b": one}) == (0.1,)
        assert common_edges({}, {"x": bare}) == ()
        with pytest.raises(EdgesDiffer, match=r"pod 'b'.*\(0\.2,\).*pod 'a'"):
            common_edges({"a": one}, {"b": other})


def series(
    name: str, values: list[tuple[float, str]], workload: WorkloadRef = SHOP, **labels: str
) -> dict[str, Any]:
    metric = {
        "__name__": name,
        "reporter": "destination",
        "destination_workload": workload.name,
        "destination_workload_namespace": workload.namespace,
        "request_protocol": "http",
        "response_code": "200",
        "response_flags": "-",
        "pod": "p",
        "job": "istio",
        "instance": "10.0.0.1:15020",
    }
    return {
        "metric": {k: v for k, v in (metric | labels).items() if v},
        "values": [[t, v] for t, v in values],
    }


def buckets(counts: Mapping[str, list[tuple[float, str]]], **labels: str) -> list[dict[str, Any]]:
    return [series(BUCKETS, values, SHOP, le=le, **labels) for le, values in counts.items()]


class TestSamples:
    def test_a_scrape_is_read_at_its_own_time(self) -> None:
        requests = [
            series(REQUESTS, [(1.0, "5"), (2.0, "7")]),
            series(REQUESTS, [(2.0, "1")], response_code="503", response_flags="UF"),
        ]
        histogram = buckets({"100": [(2.0, "4")], "25": [(2.0, "3")], "+Inf": [(2.0, "7")]})
        pod = by_workload(requests, histogram, [SHOP])[SHOP].pods["p"]
        assert pod.times == (1.0, 2.0)
        first, second = pod.newest(1.5), pod.newest(9.0)
        assert first is not None
        assert second is not None
        assert {str(s): n for s, n in first.requests.items()} == {"code 200 flags -": 5}
        assert {str(s): n for s, n in second.requests.items()} == {
            "code 200 flags -": 7,
            "code 503 flags UF": 1,
        }
        assert (second.edges, list(second.buckets.values())) == ((0.025, 0.1), [(3, 4, 7)])
        assert pod.newest(0.5) is None

    @pytest.mark.parametrize("late", ["200", "503", "25", "+Inf"])
    def test_a_scrape_of_which_a_series_is_still_to_come_waits(self, late: str) -> None:
        def values(name: str) -> list[tuple[float, str]]:
            return [(1.0, "5000"), (2.0, "5001")][: 1 if name == late else 2]

        requests = [series(REQUESTS, values(code), response_code=code) for code in ("200", "503")]
        histogram = buckets({le: values(le) for le in ("25", "+Inf")})
        assert by_workload(requests, histogram, [SHOP])[SHOP].pods["p"].times == (1.0,)

    def test_a_series_that_is_gone_is_waited_for_once(self) -> None:
        def times(until: float) -> tuple[float, ...]:
            steady = [(t, "5") for t in (1.0, 2.0, 3.0) if t <= until]
            requests = [series(REQUESTS, steady), series(REQUESTS, steady[:1], response_code="503")]
            return by_workload(requests, [], [SHOP])[SHOP].pods["p"].times

        assert [times(until) for until in (1.0, 2.0, 3.0)] == [(1.0,), (1.0,), (1.0, 2.0, 3.0)]

    def test_after_a_restart_without_successes_there_is_no_histogram_to_wait_for(self) -> None:
        requests = [
            series(REQUESTS, [(1.0, "5")]),
            series(REQUESTS, [(2.0, "1"), (3.0, "2")], response_code="500"),
        ]
        pod = by_workload(requests, buckets({"+Inf": [(1.0, "5")]}), [SHOP])[SHOP].pods["p"]
        assert pod.times == (1.0, 2.0, 3.0)

    def test_a_pod_scraped_twice_is_counted_once(self) -> None:
        requests = [
            series(REQUESTS, [(1.0, "5"), (2.0, "6")], instance="10.0.0.1:15090"),
            series(REQUESTS, [(1.1, "5"), (2.1, "6")], instance="10.0.0.1:15020"),
        ]
        pod = by_workload(requests, [], [SHOP])[SHOP].pods["p"]
        assert pod.target == ("istio", "10.0.0.1:15020")
        assert pod.times == (1.1, 2.1)

    def test_the_newer_target_is_taken_when_the_other_is_gone(self) -> None:
        requests = [
            series(REQUESTS, [(1.0, "5"), (2.0, "6")], instance="a"),
            series(REQUESTS, [(8.0, "5"), (9.0, "6")], instance="b"),
        ]
        assert by_workload(requests, [], [SHOP])[SHOP].pods["p"].target == ("istio", "b")

    def test_series_that_differ_in_any_label_are_kept_apart(self) -> None:
        requests = [series(REQUESTS, [(1.0, "5")], source_workload=w) for w in ("web", "mobile")]
        pod = by_workload(requests, [], [SHOP])[SHOP].pods["p"]
        newest = pod.newest(1.0)
        assert newest is not None
        assert sorted(newest.requests.values()) == [5, 5]

    def test_other_workloads_are_dropped(self) -> None:
        stray = series(REQUESTS, [(1.0, "5")], WorkloadRef("other", "checkout"))
        assert by_workload([stray], [], [SHOP])[SHOP].pods == {}

    def test_without_a_pod_label_the_instance_is_the_unit(self) -> None:
        found = by_workload([series(REQUESTS, [(1.0, "5")], pod="")], [], [SHOP])[SHOP]
        assert list(found.pods) == ["10.0.0.1:15020"]

    def test_a_missing_label_is_a_fault_of_that_workload_alone(self) -> None:
        other = WorkloadRef("shop", "cart")
        requests = [
            series(REQUESTS, [(1.0, "5")], response_code=""),
            series(REQUESTS, [(1.0, "5")], other),
        ]
        found = by_workload(requests, [], [SHOP, other])
        assert "response_code" in found[SHOP].fault
        assert found[other].fault == ""
        assert list(found[other].pods) == ["p"]

    @pytest.mark.parametrize("text", ["NaN", "+Inf", "-1", "1.5", "", "0x10", "1e300", "many"])
    def test_a_value_that_is_no_count_is_named(self, text: str) -> None:
        pod = by_workload([series(REQUESTS, [(1.0, text)])], [], [SHOP])[SHOP].pods["p"]
        with pytest.raises(BadCounts, match=rf"pod p: {REQUESTS} code 200.*{re.escape(text)}"):
            pod.newest(1.0)

    @pytest.mark.parametrize(("text", "value"), [("17", 17), ("1e+06", 10**6), ("0", 0), ("3.0", 3)])
    def test_counts_however_they_are_written(self, text: str, value: int) -> None:
        assert whole(text, "here") == value

    @pytest.mark.parametrize(
        ("counts", "why"),
        [
            ({"25": [(1.0, "1")]}, "Inf"),
            ({"25": [(1.0, "1")], "+Inf": [(2.0, "1")]}, "every edge"),
            ({"x": [(1.0, "1")], "+Inf": [(1.0, "1")]}, "milliseconds"),
        ],
    )
    def test_a_broken_histogram_is_named(self, counts: dict[str, list[tuple[float, str]]], why: str) -> None:
        pod = by_workload([series(REQUESTS, [(1.0, "5")])], buckets(counts), [SHOP])[SHOP].pods["p"]
        with pytest.raises(BadCounts, match=why):
            pod.newest(1.0)

    def test_series_of_one_pod_must_agree_on_the_edges(self) -> None:
        histogram = buckets({"25": [(1.0, "1")], "+Inf": [(1.0, "1")]})
        histogram += buckets({"50": [(1.0, "1")], "+Inf": [(1.0, "1")]}, response_code="404")
        pod = by_workload([series(REQUESTS, [(1.0, "5")])], histogram, [SHOP])[SHOP].pods["p"]
        with pytest.raises(BadCounts, match="other series"):
            pod.newest(1.0)


class TestSelector:
    def test_one_query_for_all(self) -> None:
        refs = [WorkloadRef("b", "y"), WorkloadRef("a", "x"), WorkloadRef("a", "y")]
        assert selector(REQUESTS, refs, 7.5) == (
            'istio_requests_total{reporter="destination",'
            'destination_workload_namespace=~"a|b",destination_workload=~"x|y"}[7500ms]'
        )

    def test_fast_failures_are_not_asked_for_in_the_histogram(self) -> None:
        assert 'response_code!~"5..|0"' in selector(BUCKETS, [SHOP], 5)

    def test_names_are_data(self) -> None:
        query = selector(REQUESTS, [WorkloadRef('n"s', "a.b|c\\d")], 5)
        assert 'destination_workload_namespace=~"n\\"s"' in query
        assert r'destination_workload=~"a\\.b\\|c\\\\d"' in query
