"""How many replicas each ReplicaSet gets, by table, and as a rollout played to its end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replica_set_factory import deployment, replica_set

from canaryd.sandbox.controllers import rollout
from canaryd.sandbox.controllers.model import Deployment, ReplicaSet


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 1, (1, 0)),
        ("25%", "25%", 4, (1, 1)),
        ("0%", "25%", 3, (0, 1)),
        (0, "1%", 50, (0, 1)),
        (1, 0, 3, (1, 0)),
        ("100%", "100%", 3, (3, 3)),
        ("34%", "34%", 3, (2, 1)),
        (0, 0, 7, (0, 1)),
        ("1%", 0, 0, (0, 1)),
    ],
)
def test_percentages_round_up_for_surge_and_down_for_what_may_lack(
    surge: int | str, unavailable: int | str, replicas: int, expected: tuple[int, int]
) -> None:
    assert rollout.fenceposts(surge, unavailable, replicas) == expected


@pytest.mark.parametrize(
    ("replicas", "surge", "new", "old", "expected"),
    [
        pytest.param(10, 3, 0, 10, 3, id="starts within the surge"),
        pytest.param(10, 3, 3, 10, 3, id="waits when the surge is used up"),
        pytest.param(10, 3, 3, 8, 5, id="grows by what went away"),
        pytest.param(10, 3, 9, 1, 10, id="never beyond the wish"),
        pytest.param(5, 2, 8, 0, 5, id="shrinks to the wish"),
        pytest.param(10, 0, 0, 10, 0, id="waits without a surge"),
    ],
)
def test_the_new_replica_set_grows(replicas: int, surge: int, new: int, old: int, expected: int) -> None:
    wanted = deployment(replicas, max_surge=surge, max_unavailable=1)
    sets = [replica_set("new", new), replica_set("old", old, age=1)]
    assert rollout.grown(wanted, new, sets) == expected


@pytest.mark.parametrize(
    ("new", "available", "old", "expected"),
    [
        pytest.param(0, 0, [(10, 10)], {"o0": 8}, id="first step uses what may lack"),
        pytest.param(5, 5, [(8, 8)], {"o0": 3}, id="room made by available new pods"),
        pytest.param(5, 0, [(8, 8)], {}, id="new pods that are not available make none"),
        pytest.param(5, 0, [(8, 2)], {}, id="nor when old ones are unhealthy and none may go"),
        pytest.param(0, 0, [(10, 8)], {"o0": 8}, id="unhealthy old pods go first"),
        pytest.param(0, 0, [(3, 0), (10, 10)], {"o0": 0, "o1": 8}, id="also those of another set"),
        pytest.param(10, 10, [(1, 1), (2, 2)], {"o0": 0, "o1": 0}, id="the end"),
        pytest.param(4, 4, [(4, 4), (5, 5)], {"o0": 0, "o1": 4}, id="oldest first"),
    ],
)
def test_old_replica_sets_shrink(
    new: int, available: int, old: list[tuple[int, int]], expected: dict[str, int]
) -> None:
    wanted = deployment(10, max_surge=3, max_unavailable=2)
    sets = [replica_set(f"o{i}", size, ready, age=9 - i) for i, (size, ready) in enumerate(old)]
    assert rollout.shrunk(wanted, replica_set("new", new, available), sets) == expected


def marked(name: str, replicas: int, of: int, *, surge: int = 3, age: int = 0) -> ReplicaSet:
    annotations = {rollout.DESIRED: str(of), rollout.MAXIMUM: str(of + surge)}
    return replica_set(name, replicas, age=age, annotations=annotations)


@pytest.mark.parametrize(
    ("replicas", "new", "old", "expected"),
    [
        pytest.param(5, None, [marked("o", 3, 3)], {"o": 5}, id="paused with one running set"),
        pytest.param(3, None, [marked("o", 3, 3)], {}, id="as it is"),
        pytest.param(
            4, None, [marked("a", 0, 3, age=2), marked("b", 0, 3, age=1)], {"b": 4}, id="newest dead"
        ),
        pytest.param(4, marked("n", 0, 3), [marked("b", 0, 3, age=1)], {"n": 4}, id="new dead one"),
        pytest.param(10, marked("n", 10, 10), [marked("o", 2, 10, age=1)], {"o": 0}, id="saturated"),
        pytest.param(
            20, marked("n", 5, 10), [marked("o", 8, 10, age=1)], {"n": 9, "o": 14}, id="up, in proportion"
        ),
        pytest.param(
            5, marked("n", 5, 10), [marked("o", 8, 10, age=1)], {"n": 3, "o": 5}, id="down, in proportion"
        ),
        pytest.param(0, marked("n", 5, 10), [marked("o", 8, 10, age=1)], {"n": 0, "o": 0}, id="to zero"),
    ],
)
def test_a_resize_keeps_the_mix(
    replicas: int, new: ReplicaSet | None, old: list[ReplicaSet], expected: dict[str, int]
) -> None:
    wanted = deployment(replicas, max_surge=3, max_unavailable=2, paused=True)
    assert rollout.rescaled(wanted, new, old) == expected


def test_a_resize_is_seen_by_what_the_active_sets_were_scaled_for() -> None:
    assert rollout.is_resize(deployment(4), [marked("o", 3, 3)])
    assert not rollout.is_resize(deployment(3), [marked("o", 3, 3)])
    assert not rollout.is_resize(deployment(4), [marked("o", 0, 3)])
    assert not rollout.is_resize(deployment(4), [replica_set("unmarked", 3)])


@given(
    after=st.integers(0, 60),
    surge=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 20), min_size=2, max_size=4),
    data=st.data(),
)
def test_a_proportional_resize_uses_exactly_what_is_allowed(
    after: int, surge: int, sizes: list[int], data: st.DataObject
) -> None:
    before = data.draw(st.integers(max(1, sum(sizes) - surge), sum(sizes)))
    wanted = deployment(after, max_surge=surge, max_unavailable=1)
    sets = [marked(f"s{i}", size, before, surge=surge, age=i) for i, size in enumerate(sizes)]
    # Not available, so that no set is taken for saturated.
    sets = [replace(rs, status=replace(rs.status, available=0)) for rs in sets]

    result = rollout.rescaled(wanted, sets[0], sets[1:])

    allowed = after + surge if after else 0
    assert min(result.values()) >= 0
    if after:
        assert sum(result.values()) == allowed
    else:
        assert set(result.values()) == {0}


@given(
    replicas=st.integers(1, 30),
    surge=st.one_of(st.integers(0, 8), st.integers(0, 100).map("{}%".format)),
    unavailable=st.one_of(st.integers(0, 8), st.integers(0, 100).map("{}%".format)),
    data=st.data(),
)
def test_a_rollout_stays_within_its_fenceposts_and_ends(
    replicas: int, surge: int | str, unavailable: int | str, data: st.DataObject
) -> None:
    wanted = deployment(replicas, max_surge=surge, max_unavailable=unavailable)
    new, old = replica_set("new", 0), replica_set("old", replicas, age=1)
    may_be, must_be = replicas + rollout.surge(wanted), replicas - rollout.may_lack(wanted)
    for turn in range(20 * replicas):
        new, old = _step(wanted, new, old)
        assert new.replicas + old.replicas <= may_be
        assert new.status.available + old.status.available >= must_be
        starting = new.replicas - new.status.available
        # Pods become available in any order and pace, but in the end they do.
        came = data.draw(st.integers(min(1, starting) if turn % 3 == 0 else 0, starting))
        new = replace(new, status=replace(new.status, available=new.status.available + came))
        if (new.status.available, old.replicas) == (replicas, 0):
            return
    raise AssertionError(f"stuck at {new.replicas} new, {old.replicas} old")


def _step(wanted: Deployment, new: ReplicaSet, old: ReplicaSet) -> tuple[ReplicaSet, ReplicaSet]:
    size = rollout.grown(wanted, new.replicas, [new, old])
    if size != new.replicas:
        return replace(new, replicas=size), old
    left = rollout.shrunk(wanted, new, [old]).get("old", old.replicas)
    return new, replace(old, replicas=left, status=replace(old.status, available=left))
