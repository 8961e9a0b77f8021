"""The keyed queue, with a clock of its own where time matters."""

import threading

from canaryd.sandbox.controllers.keyed_queue import KeyedQueue


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_waits_once_however_often_it_comes() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    queue.add_after("end", 0)
    taken = [queue.take(), queue.take(), queue.take()]
    assert taken == ["a", "b", "end"]


def test_a_key_that_comes_while_it_is_worked_on_is_taken_again_after_that() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    assert queue.take() == "a"
    queue.add("a")
    queue.add("b")
    assert queue.take() == "b"
    queue.done("a")
    assert queue.take() == "a"


def test_later_comes_at_its_time_and_the_earliest_counts() -> None:
    clock = Clock()
    queue: KeyedQueue[str] = KeyedQueue(clock)
    queue.add_after("late", 60)
    queue.add_after("late", 5)
    queue.add_after("late", 30)
    queue.add("now")
    assert queue.take() == "now"
    clock.now += 5
    assert queue.take() == "late"
    queue.done("late")
    clock.now += 1000
    queue.add("end")
    assert queue.take() == "end"


def test_failures_come_back_later_each_time_until_one_succeeds() -> None:
    clock = Clock()
    queue: KeyedQueue[str] = KeyedQueue(clock)
    queue.add("a")
    for pause in (0.1, 0.2, 0.4):
        assert queue.take() == "a"
        queue.failed("a")
        clock.now += pause
    assert queue.take() == "a"
    queue.done("a")
    queue.add("a")
    assert queue.take() == "a"
    queue.failed("a")
    clock.now += 0.1
    assert queue.take() == "a"


def test_closing_lets_a_waiting_worker_go() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    taken: list[str | None] = []
    worker = threading.Thread(target=lambda: taken.append(queue.take()))
    worker.start()
    queue.close()
    worker.join(10)
    assert taken == [None]


def test_no_key_is_worked_on_by_two_at_a_time() -> None:
    queue: KeyedQueue[int] = KeyedQueue()
    busy: set[int] = set()
    clashes: list[int] = []
    worked = threading.Semaphore(0)

    def work() -> None:
        while (key := queue.take()) is not None:
            if key in busy:
                clashes.append(key)
            busy.add(key)
            busy.discard(key)
            queue.done(key)
            worked.release()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for number in range(2000):
        queue.add(number % 3)
    assert worked.acquire(timeout=10)
    queue.close()
    for worker in workers:
        worker.join(10)
    assert not clashes
