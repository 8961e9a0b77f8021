"""Templates and ReplicaSets as history: which is the same, which is new, which may go."""

from typing import Any

import pytest
from replica_set_factory import deployment, replica_set

from canaryd.sandbox.controllers import revisions, rollout
from canaryd.sandbox.controllers.template import HASH_LABEL, same_template, template_hash, with_label

BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "checkout"}},
    "spec": {"containers": [{"name": "app", "image": "app:v1", "env": [{"name": "A", "value": "1"}]}]},
}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(with_label(BASE, HASH_LABEL, "abc"), id="the hash label"),
        pytest.param({**BASE, "metadata": {**BASE["metadata"], "creationTimestamp": None}}, id="nulls"),
        pytest.param({**BASE, "metadata": {**BASE["metadata"], "annotations": {}}}, id="empty annotations"),
        pytest.param({**BASE, "spec": {**BASE["spec"], "volumes": []}}, id="empty lists"),
    ],
)
def test_what_makes_no_difference(other: dict[str, Any]) -> None:
    assert same_template(BASE, other)
    assert template_hash(BASE, None) == template_hash(other, None)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(with_label(BASE, "team", "pay"), id="a label"),
        pytest.param(
            {**BASE, "metadata": {**BASE["metadata"], "annotations": {"a": "b"}}}, id="an annotation"
        ),
        pytest.param({**BASE, "spec": {**BASE["spec"], "hostNetwork": True}}, id="a field"),
        pytest.param({**BASE, "spec": {"containers": [{"name": "app", "image": "app:v2"}]}}, id="an image"),
    ],
)
def test_what_makes_a_difference(other: dict[str, Any]) -> None:
    assert not same_template(BASE, other)
    assert template_hash(BASE, None) != template_hash(other, None)


def test_a_hash_is_a_label_value_that_a_collision_changes() -> None:
    assert template_hash(BASE, None) == template_hash(BASE, None)
    assert set(template_hash(BASE, None)) <= set("456789bcdf")
    assert template_hash(BASE, 1) != template_hash(BASE, None)


def test_the_oldest_of_equal_replica_sets_is_the_new_one() -> None:
    template = {"spec": {"containers": [{"image": "app:v2"}]}}
    twins = [
        replica_set("young", 1, age=1, template=template),
        replica_set("old", 1, age=5, template=template),
    ]
    other = replica_set("other", 1, age=9)

    new, old = revisions.split(deployment(template=template), [*twins, other])

    assert new is not None
    assert new.meta.name == "old"
    assert [rs.meta.name for rs in old] == ["other", "young"]


def test_a_first_replica_set_gets_revision_1_and_what_it_was_scaled_for() -> None:
    wanted = deployment(4, max_surge=2)
    body = revisions.new_replica_set(wanted, 4, revisions.next_revision([]))
    annotations = body["metadata"]["annotations"]
    assert annotations[revisions.REVISION] == "1"
    assert (annotations[rollout.DESIRED], annotations[rollout.MAXIMUM]) == ("4", "6")


def test_a_new_replica_set_is_told_apart_by_the_hash_everywhere() -> None:
    wanted = deployment(template=BASE, selector_json={"matchLabels": {"app": "checkout"}})
    body = revisions.new_replica_set(wanted, 3, 1)
    hashed = template_hash(BASE, None)
    assert body["metadata"]["name"] == f"checkout-{hashed}"
    expected = {"app": "checkout", HASH_LABEL: hashed}
    assert body["metadata"]["labels"] == expected
    assert body["spec"]["selector"]["matchLabels"] == expected
    assert body["spec"]["template"]["metadata"]["labels"] == expected
    assert HASH_LABEL not in BASE["metadata"]["labels"]


def test_a_replica_set_taken_up_again_gets_the_highest_revision_and_remembers_the_old() -> None:
    revived = replica_set("r", 0, annotations={revisions.REVISION: "1", revisions.HISTORY: "0"})
    others = [replica_set("o", 3, annotations={revisions.REVISION: "7"})]
    changed = revisions.annotations(deployment(), revived, revisions.next_revision(others))
    assert changed == {revisions.REVISION: "8", revisions.HISTORY: "0,1"}


def test_the_deployments_annotations_are_copied_but_for_the_bookkeeping() -> None:
    own = {"team": "pay", "kubectl.kubernetes.io/last-applied-configuration": "{}", revisions.REVISION: "3"}
    meta = deployment().meta
    wanted = deployment(meta=type(meta)("shop", "checkout", "u", 1, annotations=own))
    current = replica_set("r", 3, annotations={revisions.REVISION: "5"})
    assert revisions.annotations(wanted, current, 3) == {"team": "pay"}


def test_history_beyond_the_limit_goes_lowest_revision_first() -> None:
    dead = [replica_set(f"r{n}", 0, annotations={revisions.REVISION: str(n)}) for n in (3, 1, 2)]
    gone = revisions.obsolete(deployment(history_limit=1), dead)
    assert [rs.meta.name for rs in gone] == ["r1", "r2"]
    assert revisions.obsolete(deployment(history_limit=3), dead) == []
    assert revisions.obsolete(deployment(history_limit=None), dead) == []


def test_a_replica_set_with_pods_is_kept_whatever_the_limit() -> None:
    alive = replica_set("r1", 1, annotations={revisions.REVISION: "1"})
    assert revisions.obsolete(deployment(history_limit=0), [alive]) == []
