"""What a Deployment's conditions say, and when they change."""

from dataclasses import replace
from datetime import datetime, timedelta

from replica_set_factory import START, deployment, replica_set

from canaryd.sandbox.controllers import progress
from canaryd.sandbox.controllers.model import Condition, Deployment, DeploymentStatus, ReplicaSet


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def reason(status: DeploymentStatus) -> str:
    condition = status.condition(progress.PROGRESSING)
    return condition.reason if condition else ""


def rolled(wanted: Deployment, new: ReplicaSet, old: list[ReplicaSet], seconds: float) -> Deployment:
    return replace(wanted, status=progress.rolled(wanted, new, old, at(seconds)))


def test_counts_are_those_of_the_replica_sets() -> None:
    status = progress.counted(deployment(5), replica_set("n", 2, 1), [replica_set("o", 4, 3, age=1)], at(0))
    counts = (status.replicas, status.updated, status.ready, status.available, status.unavailable)
    assert counts == (6, 2, 4, 4, 2)
    assert status.observed_generation == 1


def test_available_means_no_fewer_than_may_lack() -> None:
    wanted = deployment(4, max_unavailable=1)
    for available, expected in ((3, "True"), (2, "False")):
        status = progress.counted(wanted, replica_set("n", 4, available), [], at(0))
        condition = status.condition(progress.AVAILABLE)
        assert condition is not None
        assert condition.status == expected


def test_a_rollout_goes_from_created_over_progress_to_complete() -> None:
    wanted, new = deployment(2), replica_set("n", 2, 0)
    status = progress.revision_found(wanted, new, created=True, now=at(0))
    assert reason(status) == "NewReplicaSetCreated"

    wanted = rolled(replace(wanted, status=status), replica_set("n", 2, 1), [], 5)
    assert reason(wanted.status) == "ReplicaSetUpdated"

    wanted = rolled(wanted, replica_set("n", 2, 2), [], 9)
    assert reason(wanted.status) == progress.COMPLETE
    assert progress.complete(wanted, wanted.status)


def test_each_progress_sets_the_deadline_anew_and_silence_lets_it_pass() -> None:
    wanted = deployment(3, progress_deadline=60)
    wanted = replace(
        wanted, status=progress.revision_found(wanted, replica_set("n", 3, 0), created=True, now=at(0))
    )
    wanted = rolled(wanted, replica_set("n", 3, 1), [], 50)
    wanted = rolled(wanted, replica_set("n", 3, 1), [], 109)
    assert reason(wanted.status) == "ReplicaSetUpdated"
    assert progress.next_check(wanted, wanted.status, at(109)) == 2.0

    wanted = rolled(wanted, replica_set("n", 3, 1), [], 111)
    assert reason(wanted.status) == progress.TIMED_OUT
    assert progress.next_check(wanted, wanted.status, at(111)) is None


def test_a_complete_rollout_that_loses_a_pod_is_not_late() -> None:
    wanted = deployment(2, progress_deadline=60)
    wanted = rolled(wanted, replica_set("n", 2), [], 0)
    wanted = rolled(wanted, replica_set("n", 2, 1), [], 1000)
    assert reason(wanted.status) == progress.COMPLETE


def test_a_pause_stops_the_deadline_and_resuming_says_so() -> None:
    wanted = deployment(2, paused=True)
    paused = replace(wanted, status=progress.pause_noted(wanted, at(0)))
    assert reason(paused.status) == progress.PAUSED
    assert progress.pause_noted(paused, at(5)) == paused.status

    resumed = replace(paused, paused=False)
    assert reason(progress.pause_noted(resumed, at(9))) == progress.RESUMED


def test_a_passed_deadline_is_not_overwritten_by_a_pause() -> None:
    late = Condition(progress.PROGRESSING, "False", progress.TIMED_OUT, "", at(0), at(0))
    wanted = deployment(2, paused=True, status=DeploymentStatus(conditions=(late,)))
    assert progress.pause_noted(wanted, at(9)) == wanted.status


def test_without_a_deadline_progress_is_not_reported() -> None:
    known = Condition(progress.PROGRESSING, "True", "ReplicaSetUpdated", "", at(0), at(0))
    wanted = deployment(2, progress_deadline=None, status=DeploymentStatus(conditions=(known,)))
    assert reason(progress.rolled(wanted, replica_set("n", 2), [], at(9))) == ""


def test_a_replica_set_that_cannot_create_pods_is_reported_until_it_can() -> None:
    failure = Condition("ReplicaFailure", "True", "FailedCreate", "quota", at(0), at(0))
    failing = replica_set("n", 2, 0)
    failing = replace(failing, status=replace(failing.status, failure=failure))
    wanted = rolled(deployment(2), failing, [], 0)
    condition = wanted.status.condition(progress.FAILURE)
    assert condition is not None
    assert (condition.reason, condition.message) == ("FailedCreate", "quota")

    wanted = rolled(wanted, replica_set("n", 2), [], 9)
    assert wanted.status.condition(progress.FAILURE) is None


def test_a_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    wanted = deployment(2)
    status = progress.revision_found(wanted, replica_set("n", 2, 0), created=True, now=at(0))
    wanted = rolled(replace(wanted, status=status), replica_set("n", 2, 1), [], 7)
    condition = wanted.status.condition(progress.PROGRESSING)
    assert condition is not None
    assert (condition.since, condition.updated) == (at(0), at(7))
