"""A key waits once, is with one worker at a time, and is never lost."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.cluster.resources import Key
from canaryd.controller.queue import KeyedQueue

A, B, C = ("shop", "a"), ("shop", "b"), ("shop", "c")


class Clock:
    """Time that goes by when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> KeyedQueue:
    return KeyedQueue(clock)


def due(queue: KeyedQueue) -> list[Key]:
    """What can be taken now, in order; the queue is empty of it then."""
    found: list[Key] = []
    while queue._wait() <= 0:
        key = queue.take()
        assert key is not None
        found.append(key)
    return found


def test_in_the_order_in_which_they_are_due(queue: KeyedQueue, clock: Clock) -> None:
    queue.add(A, 3.0)
    queue.add(B, 1.0)
    queue.add(C, 2.0)
    clock.now = 3.0
    assert due(queue) == [B, C, A]


def test_not_before_it_is_due(queue: KeyedQueue, clock: Clock) -> None:
    queue.add(A, 5.0)
    clock.now = 4.9
    assert due(queue) == []
    clock.now = 5.0
    assert due(queue) == [A]


def test_a_key_waits_once(queue: KeyedQueue) -> None:
    for _ in range(5):
        queue.add(A)
    assert len(queue) == 1
    assert due(queue) == [A]
    queue.done(A)
    assert due(queue) == []


def test_the_earlier_time_counts(queue: KeyedQueue, clock: Clock) -> None:
    queue.add(A, 10.0)
    queue.add(A, 1.0)
    queue.add(A, 5.0)
    clock.now = 1.0
    assert due(queue) == [A]
    queue.done(A)
    clock.now = 100.0
    assert due(queue) == [], "the later ones were the same wish"


class TestWhileItIsTaken:
    def test_it_is_not_given_out_again(self, queue: KeyedQueue, clock: Clock) -> None:
        queue.add(A)
        assert due(queue) == [A]
        queue.add(A)
        clock.now = 100.0
        assert due(queue) == []

    def test_it_comes_back_afterwards(self, queue: KeyedQueue) -> None:
        queue.add(A)
        assert due(queue) == [A]
        queue.add(A)
        queue.add(B)
        assert due(queue) == [B]
        queue.done(A)
        assert due(queue) == [A]

    def test_with_its_delay(self, queue: KeyedQueue, clock: Clock) -> None:
        queue.add(A)
        assert due(queue) == [A]
        queue.add(A, 5.0)
        queue.done(A)
        assert due(queue) == []
        clock.now = 5.0
        assert due(queue) == [A]

    def test_others_go_on(self, queue: KeyedQueue) -> None:
        queue.add(A)
        queue.add(B)
        assert due(queue) == [A, B]
        queue.add(C)
        assert due(queue) == [C]


def test_done_with_what_was_never_taken(queue: KeyedQueue) -> None:
    queue.done(A)
    queue.add(A)
    queue.done(A)
    assert due(queue) == [A]


class TestClosing:
    def test_nothing_is_given_out_any_more(self, queue: KeyedQueue) -> None:
        queue.add(A)
        queue.close()
        assert queue.take() is None
        queue.add(B)
        assert queue.take() is None

    def test_wakes_all_who_wait(self) -> None:
        queue = KeyedQueue()
        taken: list[Key | None] = []
        workers = [threading.Thread(target=lambda: taken.append(queue.take())) for _ in range(3)]
        for worker in workers:
            worker.start()
        queue.close()
        for worker in workers:
            worker.join(30)
        assert taken == [None] * 3


class TestManyWorkers:
    def test_each_key_with_one_at_a_time_and_none_lost(self) -> None:
        queue, lock = KeyedQueue(), threading.Lock()
        keys = [("shop", str(n)) for n in range(20)]
        busy: set[Key] = set()
        wanted: Counter[Key] = Counter()
        seen: Counter[Key] = Counter()
        clashes: list[Key] = []

        def work() -> None:
            while (key := queue.take()) is not None:
                with lock:
                    clashes.extend([key] if key in busy else [])
                    busy.add(key)
                    seen[key] = wanted[key]  # what was wished for before this look is covered by it
                with lock:
                    busy.discard(key)
                queue.done(key)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for turn in range(50):
            for key in keys:
                with lock:
                    wanted[key] += 1
                queue.add(key, 0.001 if turn % 3 else 0.0)
        deadline = time.monotonic() + 30
        while (len(queue) or seen != wanted) and time.monotonic() < deadline:
            time.sleep(0.005)
        queue.close()
        for worker in workers:
            worker.join(30)
        assert clashes == []
        assert seen == wanted, "every wish is followed by a look"

    def test_a_key_that_is_due_at_once_does_not_wait_behind_one_that_is_not(self) -> None:
        queue = KeyedQueue()
        taken: list[Key | None] = []
        queue.add(A, 3600.0)
        worker = threading.Thread(target=lambda: taken.append(queue.take()))
        worker.start()
        queue.add(B)
        worker.join(30)
        assert taken == [B]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from([A, B, C]), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.just(A), st.integers(0, 5)),
        st.tuples(st.just("take"), st.just(A), st.just(0)),
        st.tuples(st.just("done"), st.sampled_from([A, B, C]), st.just(0)),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(OPERATIONS)
def test_as_a_plain_table_would_have_it(operations: list[tuple[str, Key, int]]) -> None:
    """Against a model: when each key is due, and who has it."""
    clock = Clock()
    queue = KeyedQueue(clock)
    waiting: dict[Key, float] = {}
    taken: set[Key] = set()
    for what, key, number in operations:
        if what == "add":
            queue.add(key, float(number))
            waiting[key] = min(waiting.get(key, float("inf")), clock.now + number)
        elif what == "pass":
            clock.now += number
        elif what == "done":
            queue.done(key)
            taken.discard(key)
        free = {k: at for k, at in waiting.items() if k not in taken}
        ready = {k for k, at in free.items() if at <= clock.now}
        assert (queue._wait() <= 0) == bool(ready)
        if what == "take" and ready:
            given_out = queue.take()
            assert given_out is not None
            assert free[given_out] == min(free.values()), "the one that has waited longest"
            del waiting[given_out]
            taken.add(given_out)
        assert len(queue) == len(waiting)
