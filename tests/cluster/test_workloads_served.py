"""What a real control plane makes of templates: revisions are compared live with live."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from canaryd.cluster.resources import DEPLOYMENTS, POD_TEMPLATES, REPLICASETS, Json
from canaryd.cluster.transport import Api
from canaryd.cluster.workloads import (
    deployment_view,
    owned_by,
    replicaset_view,
    revision,
    template_without_hash,
)
from canaryd.domain.world import ReplicaSetView
from canaryd.sandbox.realcluster import RealCluster, available

pytestmark = pytest.mark.real

LABELS = {"app": "checkout"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[RealCluster]:
    """A control plane with the Deployment controller."""
    reason = available()
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL") == "1":
        pytest.fail(f"CANARYD_REQUIRE_REAL=1, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    with RealCluster() as running:
        yield running


class Checkout:
    """A Deployment in a namespace of its own."""

    def __init__(self, cluster: RealCluster) -> None:
        self.api = Api.connect(str(cluster.kubeconfig))
        self.namespace = cluster.create_namespace()
        template = {
            "metadata": {"labels": LABELS},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        }
        spec = {"replicas": 1, "selector": {"matchLabels": LABELS}, "template": template}
        self.api.create(DEPLOYMENTS, self.namespace, {"metadata": {"name": "checkout"}, "spec": spec})
        self.await_(lambda: len(self.sets()) == 1)

    def get(self) -> Json:
        return self.api.get(DEPLOYMENTS, self.namespace, "checkout")

    def patch(self, spec: Json) -> None:
        made = self.api.patch(DEPLOYMENTS, self.namespace, "checkout", {"spec": spec}, kind="strategic")
        wanted = made["metadata"]["generation"]
        self.await_(lambda: self.get()["status"].get("observedGeneration", 0) >= wanted)

    def set_image(self, image: str) -> None:
        self.patch({"template": {"spec": {"containers": [{"name": "app", "image": image}]}}})

    def raw_sets(self) -> list[Json]:
        uid = self.get()["metadata"]["uid"]
        return [rs for rs in self.api.list(REPLICASETS, self.namespace)[0] if owned_by(rs, uid)]

    def sets(self) -> list[ReplicaSetView]:
        return sorted((replicaset_view(rs) for rs in self.raw_sets()), key=lambda rs: rs.sequence)

    def await_(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def checkout(cluster: RealCluster) -> Checkout:
    return Checkout(cluster)


def test_a_replicaset_and_a_record_have_the_revision_of_the_template(checkout: Checkout) -> None:
    template = checkout.get()["spec"]["template"]
    (running,) = checkout.sets()
    assert running.revision == revision(template)
    record = {"metadata": {"name": "kept"}, "template": template_without_hash(template)}
    kept = checkout.api.create(POD_TEMPLATES, checkout.namespace, record)
    assert revision(kept["template"]) == revision(template)


def test_defaults_that_are_spelt_out_are_no_change(checkout: Checkout) -> None:
    before = revision(checkout.get()["spec"]["template"])
    checkout.patch({"template": {"spec": {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30}}})
    assert revision(checkout.get()["spec"]["template"]) == before
    checkout.patch({"template": {"spec": {"terminationGracePeriodSeconds": 5}}})
    assert revision(checkout.get()["spec"]["template"]) != before


def test_the_running_template_put_back_is_the_running_revision(checkout: Checkout) -> None:
    (raw,) = checkout.raw_sets()
    checkout.patch({"paused": True})
    checkout.set_image("app:2")
    operations = [
        {"op": "replace", "path": "/spec/template", "value": template_without_hash(raw["spec"]["template"])}
    ]
    back = checkout.api.patch(DEPLOYMENTS, checkout.namespace, "checkout", operations, kind="json")
    assert deployment_view(back, raw).revision == replicaset_view(raw).revision
    assert len(checkout.raw_sets()) == 1


def test_the_sequence_does_not_say_what_ran_last(checkout: Checkout) -> None:
    """A paused Deployment whose template is that of an old ReplicaSet counts it as the newest at once."""
    checkout.set_image("app:2")
    checkout.await_(lambda: len(checkout.sets()) == 2)
    first, second = checkout.sets()
    checkout.patch({"paused": True})
    checkout.set_image("app:1")
    checkout.await_(lambda: [rs.name for rs in checkout.sets()] == [second.name, first.name])


def test_scaled_up_from_zero_while_paused_the_templates_replicaset_is_revived(checkout: Checkout) -> None:
    """Whatever ran last: a rejected template that once ran would serve without a canary."""
    checkout.set_image("app:2")
    checkout.await_(lambda: len(checkout.sets()) == 2)
    first, second = checkout.sets()
    checkout.patch({"paused": True})
    checkout.set_image("app:1")
    checkout.patch({"replicas": 0})
    checkout.await_(lambda: all(rs.replicas == 0 for rs in checkout.sets()))
    checkout.patch({"replicas": 1})
    checkout.await_(
        lambda: {rs.name: rs.replicas for rs in checkout.sets()} == {first.name: 1, second.name: 0}
    )
