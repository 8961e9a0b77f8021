"""Runs written to API servers as the daemon writes them, with the CRD as shipped, and read back."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from any_run import EVIDENCE, RUNS, watched
from hypothesis import HealthCheck, given, settings

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import CANARYRUNS, NAMESPACES
from canaryd.cluster.runs import manifest, parse, status
from canaryd.cluster.transport import Api
from canaryd.domain.model import Arm, Run, Target, Wanted
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.crds import canaryrun, install
from canaryd.sandbox.realcluster import RealCluster, available


@contextmanager
def _real() -> Iterator[Api]:
    reason = available(controllers=False)
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL") == "1":
        pytest.fail(f"CANARYD_REQUIRE_REAL=1, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    with RealCluster(controllers=()) as cluster:
        yield Api.connect(str(cluster.kubeconfig))


@contextmanager
def _sandbox(folder: Path) -> Iterator[Api]:
    with ApiServer() as server:
        yield Api.connect(str(server.kubeconfig(folder / "kubeconfig")))


@pytest.fixture(scope="module", params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """An API server that serves CanaryRuns."""
    with _sandbox(tmp_path_factory.mktemp("server")) if request.param == "sandbox" else _real() as connected:
        install(connected, [canaryrun()])
        deadline = time.monotonic() + 60
        while True:
            try:
                connected.list(CANARYRUNS)
                break
            except ApiError:
                assert time.monotonic() < deadline, "CanaryRuns are not served"
                time.sleep(0.1)
        yield connected


def create(api: Api, run: Run) -> Run:
    """A new run in a namespace of its own, as the server has it."""
    namespace = f"runs-{uuid.uuid4().hex[:8]}"
    api.create(NAMESPACES, None, {"metadata": {"name": namespace}})
    run = replace(run, namespace=namespace, target=replace(run.target, namespace=namespace), deleting=False)
    made = api.create(CANARYRUNS, namespace, manifest(run))
    api.patch(CANARYRUNS, namespace, run.name, {"spec": {"paused": run.wish_pause, "abort": run.wish_abort}})
    return replace(run, uid=made["metadata"]["uid"])


def save(api: Api, run: Run) -> Run:
    """Write the status, and read the run from the server's answer."""
    saved = api.patch(CANARYRUNS, run.namespace, run.name, {"status": status(run)}, subresource="status")
    back = parse(saved)
    assert parse(api.get(CANARYRUNS, run.namespace, run.name)) == back
    return back


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS, RUNS)
def test_any_run_over_any_other(api: Api, run: Run, before: Run) -> None:
    run = create(api, run)
    save(
        api, replace(before, **{name: getattr(run, name) for name in ("namespace", "name", "uid", "target")})
    )
    back = save(api, run)
    assert back == replace(run, resource_version=back.resource_version)


def test_labels_and_nulls(api: Api) -> None:
    """What a merge patch would merge or drop."""
    labels = {"canaryd.io/role": "canary", "canaryd.io/revision": "ab12"}
    before = Run(
        "x", "checkout-ab12", Target("x", "checkout", "u"), "ab12", created=1.7e9, evidence=EVIDENCE[-1]
    )
    before = create(api, before)
    by_hash = {"pod-template-hash": "5d6f"}
    save(api, replace(before, stable=Arm("a", "b", by_hash), wanted=Wanted(stable_subset=by_hash)))
    after = replace(
        before,
        stable=Arm("a", "b", labels),
        wanted=Wanted(stable_subset=labels),
        watched=watched(2),
        evidence=None,
    )
    back = save(api, after)
    assert back == replace(after, resource_version=back.resource_version)
