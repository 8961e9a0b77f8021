"""What a real Prometheus holds after requests through a real Envoy: each, once, as Istio would say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mesh_fakes import (
    App,
    Proxy,
    destination_rule,
    eventually,
    fresh_address,
    pod,
    route,
    service,
    to,
    virtual_service,
    world,
)

from canaryd.sandbox.mesh.listeners import BUCKETS_MS
from canaryd.sandbox.prometheus import Prometheus

Json = dict[str, Any]

SOURCE = {
    "reporter",
    "destination_workload",
    "destination_workload_namespace",
    "destination_service_name",
    "request_protocol",
    "response_code",
    "response_flags",
}
DESTINATION = SOURCE | {"pod", "namespace"}


class Watched:
    """A shop whose requests are counted; pods get names of their own in each test."""

    def __init__(self, folder: Path) -> None:
        self.apps: dict[str, App] = {}
        self.proxy = Proxy(folder, world())
        self.prometheus = Prometheus([f"127.0.0.1:{self.proxy.envoy.admin_port}"], interval=0.25)

    def run(self, name: str, role: str = "stable", **more: Any) -> Json:
        app = self.apps.get(name) or self.apps.setdefault(name, App(name))
        return pod(name, app.address, role=role, **more)

    def tell(self, *pods: Json, **more: Any) -> Proxy:
        self.proxy.apply(world(pods=pods, services=(service(),), **more))
        return self.proxy

    def counts(self, by: str, **selector: str) -> dict[str, int]:
        """Requests by a label, of the series that match."""
        chosen = ",".join(f'{name}="{value}"' for name, value in selector.items())
        series = self.prometheus.query(f"sum by ({by}) (istio_requests_total{{{chosen}}})")
        return {labels[by]: int(value) for labels, value in series}

    def stop(self) -> None:
        self.prometheus.stop()
        self.proxy.envoy.stop()
        for app in self.apps.values():
            app.close()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    made = Watched(tmp_path_factory.mktemp("envoy"))
    try:
        with made.prometheus:
            yield made
    finally:
        made.stop()


def test_every_request_is_counted_once_with_its_code(watched: Watched) -> None:
    proxy = watched.tell(watched.run("a-1"), watched.run("a-2"))
    sent: Counter[str] = Counter()
    for code, count in (("200", 150), ("404", 12), ("500", 7), ("503", 3)):
        for _ in range(count):
            answer = proxy.get(x_code=code)
            sent[f"{answer.pod} {answer.status}"] += 1

    def stored() -> dict[str, int]:
        return {
            f"{name} {code}": count
            for name in ("a-1", "a-2")
            for code, count in watched.counts("response_code", pod=name).items()
        }

    eventually(lambda: sum(stored().values()) >= sent.total())
    assert stored() == dict(sent)
    source = watched.counts("response_code", reporter="source", destination_workload="checkout")
    assert source == {"200": 150, "404": 12, "500": 7, "503": 3}


def test_a_new_code_is_a_new_series_beside_the_old_ones(watched: Watched) -> None:
    proxy = watched.tell(watched.run("b-1"))
    proxy.tally(20)
    eventually(lambda: watched.counts("response_code", pod="b-1") == {"200": 20})
    proxy.get(x_code="502")
    eventually(lambda: watched.counts("response_code", pod="b-1") == {"200": 20, "502": 1})


def test_counters_go_on_while_routes_and_subsets_change(watched: Watched) -> None:
    one = watched.run("k-1")
    watched.tell(one).tally(10)
    everything = virtual_service(route(to("stable", 1), to("canary", 0)))
    rules = (destination_rule("stable", "canary"),)
    watched.tell(one, watched.run("k-2", role="canary"), rules=rules, virtual_services=(everything,)).tally(
        10
    )
    watched.tell(one).tally(10)
    eventually(lambda: watched.counts("pod", pod="k-1") == {"k-1": 30})


def test_buckets_hold_what_took_so_long(watched: Watched) -> None:
    proxy = watched.tell(watched.run("c-1"))
    proxy.tally(20)
    for _ in range(3):
        proxy.get(x_delay="0.6")

    def buckets() -> dict[float, int]:
        series = watched.prometheus.query('istio_request_duration_milliseconds_bucket{pod="c-1"}')
        return {float(labels["le"]): int(value) for labels, value in series}

    eventually(lambda: buckets().get(float("inf")) == 23)
    got = buckets()
    assert sorted(got) == [*BUCKETS_MS, float("inf")]
    assert (got[500], got[1000]) == (20, 23)
    [(_, count)] = watched.prometheus.query('istio_request_duration_milliseconds_count{pod="c-1"}')
    [(_, total)] = watched.prometheus.query('istio_request_duration_milliseconds_sum{pod="c-1"}')
    assert count == 23
    assert total >= 3 * 600


def test_a_deleted_pods_series_go_stale_and_a_terminating_ones_stay(watched: Watched) -> None:
    staying, leaving = watched.run("d-1"), watched.run("d-2")
    proxy = watched.tell(staying, leaving)
    proxy.tally(40)
    eventually(lambda: set(watched.counts("pod", reporter="destination")) >= {"d-1", "d-2"})
    watched.tell(staying, watched.run("d-2", terminating=True))
    proxy.tally(5)

    def served() -> int:
        counts = watched.counts("pod", reporter="destination")
        return counts["d-1"] + counts["d-2"]

    eventually(lambda: served() == 45)
    assert watched.counts("pod", reporter="destination")["d-2"] > 0
    watched.tell(staying)
    eventually(lambda: "d-2" not in watched.counts("pod", reporter="destination"))
    assert "d-1" in watched.counts("pod", reporter="destination")


def test_arms_are_told_apart_by_workload(watched: Watched) -> None:
    split = virtual_service(route(to("stable", 1), to("canary", 1)))
    proxy = watched.tell(
        watched.run("e-1"),
        watched.run("e-2", role="canary"),
        rules=(destination_rule("stable", "canary"),),
        virtual_services=(split,),
    )
    got = proxy.tally(60)
    workloads = {"checkout": got["e-1"], "checkout-canary": got["e-2"]}

    def by_workload() -> dict[str, int]:
        chosen = 'reporter="destination",pod=~"e-.*"'
        query = f"sum by (destination_workload) (istio_requests_total{{{chosen}}})"
        return {
            labels["destination_workload"]: int(value) for labels, value in watched.prometheus.query(query)
        }

    eventually(lambda: by_workload() == workloads)


@pytest.mark.parametrize("flag", ["UH", "NC", "UF"])
def test_the_source_sees_what_no_pod_answered(watched: Watched, flag: str) -> None:
    split = virtual_service(route(to("canary")))
    pods, rules = {
        "UH": ((), (destination_rule("canary"),)),
        "NC": ((), ()),
        "UF": ((pod("f-1", fresh_address(), role="canary"),), (destination_rule("canary"),)),
    }[flag]
    proxy = watched.tell(*pods, rules=rules, virtual_services=(split,))
    for _ in range(4):
        assert flag in proxy.get().flags.split(",")
    chosen = {"response_code": "503"} | (
        {"pod": "f-1"} if flag == "UF" else {"reporter": "source", "destination_workload": "unknown"}
    )
    eventually(
        lambda: (
            sum(n for flags, n in watched.counts("response_flags", **chosen).items() if flag in flags) == 4
        )
    )


def test_nothing_but_istios_metrics_and_labels_is_stored(watched: Watched) -> None:
    watched.tell(watched.run("g-1")).tally(3)
    eventually(lambda: watched.counts("pod", pod="g-1") == {"g-1": 3})
    series = watched.prometheus.query('{__name__=~".+",__name__!~"up|scrape_.*"}')
    names = {labels["__name__"] for labels, _ in series}
    duration = "istio_request_duration_milliseconds_"
    assert names == {"istio_requests_total", duration + "bucket", duration + "sum", duration + "count"}
    for labels, _ in series:
        expected = DESTINATION if labels["reporter"] == "destination" else SOURCE
        assert set(labels) - {"__name__", "le"} == expected
    once = Counter(tuple(sorted(labels.items())) for labels, _ in series)
    assert set(once.values()) == {1}
    [found] = [labels for labels, _ in series if labels.get("pod") == "g-1" and "le" not in labels][:1]
    assert found["namespace"] == found["destination_workload_namespace"] == "shop"
    assert (found["destination_service_name"], found["request_protocol"]) == ("checkout", "http")


def test_after_an_outage_it_goes_on_with_what_it_had(watched: Watched) -> None:
    """Last in this file: the others need it running."""
    proxy = watched.tell(watched.run("h-1"))
    proxy.tally(10)
    eventually(lambda: watched.counts("pod", pod="h-1") == {"h-1": 10})
    watched.prometheus.halt()
    with pytest.raises(OSError, match="refused"):
        watched.prometheus.query("up")
    proxy.tally(5)
    watched.prometheus.start()
    watched.prometheus.wait_ready()
    eventually(lambda: watched.counts("pod", pod="h-1") == {"h-1": 15})
    before = watched.prometheus.query('count_over_time(istio_requests_total{pod="h-1"}[10m])')
    assert before[0][1] > 1


def test_nothing_is_left_after_stop(tmp_path: Path) -> None:
    prometheus = Prometheus(["127.0.0.1:1"])
    prometheus.start()
    folder, pid = prometheus.folder, prometheus.pid
    assert folder.exists()
    prometheus.stop()
    assert not folder.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_port_that_is_taken_is_said(watched: Watched) -> None:
    second = Prometheus(["127.0.0.1:1"], port=watched.prometheus.port)
    with pytest.raises(Exception, match="address already in use"), second:
        pass
    assert not second.folder.exists()
