"""Which pods go first."""

from datetime import timedelta
from typing import Any

import pytest
from replica_set_factory import START

from canaryd.sandbox.controllers.model import Meta
from canaryd.sandbox.controllers.network import Pod
from canaryd.sandbox.controllers.ranking import to_delete

NOW = START + timedelta(hours=1)


def pod(name: str, *, age: float = 600, ready_for: float = 500, **values: Any) -> Pod:
    meta = Meta("shop", name, name, 1, created=NOW - timedelta(seconds=age))
    defaults: dict[str, Any] = {"phase": "Running", "node": "n1", "ready": True}
    return Pod(meta, **{**defaults, "ready_since": NOW - timedelta(seconds=ready_for), **values})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(pod("z", node=""), pod("a", phase="Pending"), id="not assigned"),
        pytest.param(pod("z", phase="Pending"), pod("a"), id="pending before running"),
        pytest.param(pod("z", ready=False), pod("a"), id="not ready"),
        pytest.param(pod("z", deletion_cost=-1), pod("a"), id="cheaper to delete"),
        pytest.param(pod("z", ready_for=5), pod("a", ready_for=500), id="ready for a shorter time"),
        pytest.param(pod("z", restarts=3), pod("a", restarts=1), id="restarted more often"),
        pytest.param(pod("z", age=40), pod("a", age=600), id="younger"),
        pytest.param(pod("a", ready_for=400), pod("z", ready_for=401), id="as good as equal: by uid"),
    ],
)
def test_order(first: Pod, second: Pod) -> None:
    for pods in ([first, second], [second, first]):
        assert to_delete(pods, 1, related=pods, now=NOW) == [first]


def test_a_crowded_node_gives_first() -> None:
    alone, crowded = pod("a", node="n1"), pod("z", node="n2")
    related = [alone, crowded, pod("other", node="n2")]
    assert to_delete([alone, crowded], 1, related=related, now=NOW) == [crowded]
