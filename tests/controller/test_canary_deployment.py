"""The canary: the new template under a name and labels of its own, so that nothing adopts its pods."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from shop_objects import LABELS, deployment, service, template

from canaryd.cluster.resources import Json
from canaryd.cluster.workloads import revision
from canaryd.controller.effects import canary_deployment
from canaryd.controller.preflight import selects
from canaryd.controller.second_copy import selected
from canaryd.domain.model import Run, Target

RUN = Run(
    "shop", "checkout-ab12000000", Target("shop", "checkout", "d-1"), "ab12000000", created=0.0, uid="run-1"
)


def canary(made: Json | None = None, *, run: Run = RUN, replicas: int = 1, **spec: Any) -> Json:
    return canary_deployment(run, deployment(made, **spec), replicas)


def pod_labels(made: Json) -> Json:
    labels: Json = made["spec"]["template"]["metadata"]["labels"]
    return labels


def test_its_pods_are_of_the_service_and_of_the_subset() -> None:
    labels = pod_labels(canary())
    assert selects(service(), labels)
    assert RUN.canary_labels.items() <= labels.items()
    assert labels["canaryd.io/run"] == RUN.name


def test_its_selector_picks_its_pods_and_no_others() -> None:
    made = canary()
    assert selected(made["spec"]["selector"], pod_labels(made))
    assert not selected(made["spec"]["selector"], LABELS), "the user's own pods"
    other = canary(run=replace(RUN, revision="cd34000000"))
    assert not selected(made["spec"]["selector"], pod_labels(other)), "another canary's pods"


def test_a_selector_by_expressions_goes_on() -> None:
    expressions = [{"key": "tier", "operator": "In", "values": ["web"]}]
    made = canary(selector={"matchExpressions": expressions})
    assert made["spec"]["selector"] == {"matchExpressions": expressions, "matchLabels": RUN.canary_labels}
    assert selected(made["spec"]["selector"], pod_labels(made))


def test_it_is_the_runs_and_goes_with_it() -> None:
    (owner,) = canary()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "CanaryRun",
        RUN.name,
        "run-1",
        True,
    )


def test_labels_but_no_annotations_of_the_users() -> None:
    made = canary(annotations={"meta.helm.sh/release-name": "shop"})
    assert "annotations" not in made["metadata"]
    assert made["metadata"]["labels"]["team"] == "payments"
    assert made["metadata"]["labels"]["canaryd.io/role"] == "canary"


def test_it_rolls_out() -> None:
    made = canary(replicas=3)
    assert not made["spec"].get("paused")
    assert made["spec"]["replicas"] == 3


def test_the_template_is_the_new_one_but_for_its_marks() -> None:
    new = template("checkout:9", volumes=[{"name": "x"}], serviceAccountName="shop")
    new["metadata"]["annotations"] = {"sidecar.istio.io/inject": "true"}
    made = canary(new)["spec"]["template"]
    assert made["metadata"]["annotations"] == {"sidecar.istio.io/inject": "true"}
    plain = copy.deepcopy(made)
    for mark in ("canaryd.io/role", "canaryd.io/revision", "canaryd.io/run"):
        del plain["metadata"]["labels"][mark]
    for container in plain["spec"]["containers"]:
        del container["env"]
    assert revision(plain) == revision(new)


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (None, [{"name": "CANARYD_ROLE", "value": "canary"}]),
        (
            [{"name": "A", "value": "1"}],
            [{"name": "A", "value": "1"}, {"name": "CANARYD_ROLE", "value": "canary"}],
        ),
        ([{"name": "CANARYD_ROLE", "value": "mine"}], [{"name": "CANARYD_ROLE", "value": "mine"}]),
    ],
)
def test_every_container_is_told(env: Any, told: list[Json]) -> None:
    containers = [
        {"name": "app", "image": "x", **({"env": env} if env else {})},
        {"name": "log", "image": "y"},
    ]
    made = canary(template(containers=containers))["spec"]["template"]["spec"]["containers"]
    assert made[0]["env"] == told
    assert made[1]["env"] == [{"name": "CANARYD_ROLE", "value": "canary"}]


def test_what_was_read_stays_as_it_was() -> None:
    user = deployment()
    before = copy.deepcopy(user)
    canary_deployment(RUN, user, 1)
    assert user == before


def test_how_long_a_pod_takes_to_count_is_kept() -> None:
    made = canary(
        minReadySeconds=7, progressDeadlineSeconds=60, revisionHistoryLimit=3, strategy={"type": "Recreate"}
    )
    assert (made["spec"]["minReadySeconds"], made["spec"]["progressDeadlineSeconds"]) == (7, 60)
    assert "strategy" not in made["spec"]
