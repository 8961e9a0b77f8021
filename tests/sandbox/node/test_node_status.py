"""A pod's status from the states of its containers."""

from datetime import UTC, datetime, timedelta

import pytest

from canaryd.sandbox.node.spec import RestartPolicy
from canaryd.sandbox.node.status import (
    ContainerState,
    Phase,
    Running,
    Terminated,
    Waiting,
    conditions,
    phase,
    status_json,
)

T0 = datetime(2026, 1, 1, tzinfo=UTC)
CREATING, LOOP = Waiting("ContainerCreating"), Waiting("CrashLoopBackOff", "back-off 1s")
RUNS, DONE, BROKE = Running(T0), Terminated(0, "", T0, T0), Terminated(3, "boom", T0, T0)


def container(
    state: Waiting | Running | Terminated, *, ready: bool = False, name: str = "app"
) -> ContainerState:
    return ContainerState(name, "example/app:v1", state=state, ready=ready, started=ready)


@pytest.mark.parametrize(
    ("states", "policy", "expected"),
    [
        ([CREATING], "Always", "Pending"),
        ([Waiting("ImagePullBackOff")], "Always", "Pending"),
        ([RUNS], "Always", "Running"),
        ([RUNS, CREATING], "Always", "Pending"),
        ([LOOP], "Always", "Running"),
        ([BROKE], "Always", "Running"),
        ([DONE], "Always", "Running"),
        ([DONE, RUNS], "Never", "Running"),
        ([DONE, DONE], "Never", "Succeeded"),
        ([DONE, BROKE], "Never", "Failed"),
        ([DONE], "OnFailure", "Succeeded"),
        ([BROKE], "OnFailure", "Running"),
    ],
)
def test_phase(states: list[Waiting | Running | Terminated], policy: RestartPolicy, expected: Phase) -> None:
    assert phase(map(container, states), policy, initialized=True, stopping=False) == expected


def test_a_pod_that_was_deleted_ends_whatever_its_policy() -> None:
    for state, expected in ((DONE, "Succeeded"), (BROKE, "Failed")):
        assert phase([container(state)], "Always", initialized=True, stopping=True) == expected


def test_ready_means_every_container() -> None:
    mixed = [container(RUNS, ready=True, name="a"), container(RUNS, name="b")]
    found = conditions(mixed, {}, initialized=True, now=T0)
    assert not found["Ready"].status
    assert found["Ready"].message == "containers with unready status: [b]"
    assert found["PodScheduled"].status


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    before = conditions([container(RUNS)], {}, initialized=True, now=T0)
    later = T0 + timedelta(seconds=9)
    same = conditions([container(BROKE)], before, initialized=True, now=later)
    ready = conditions([container(RUNS, ready=True)], same, initialized=True, now=later)
    assert same["Ready"].since == T0
    assert ready["Ready"].since == later
    assert ready["Initialized"].since == T0


def test_the_last_life_is_told_of_with_its_last_words() -> None:
    crashed = ContainerState("app", "i", state=LOOP, last=BROKE, restarts=4)
    found = status_json([crashed], [], {}, phase="Running", ip="127.16.0.1", start_time=T0)
    (status,) = found["containerStatuses"]
    assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert status["lastState"]["terminated"]["message"] == "boom"
    assert status["restartCount"] == 4
