"""One sandbox per module and kind of user: an application, its users, and canaryd; versions follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import pytest
from click.testing import CliRunner

from analysis import replay as recordings
from canaryd.cli.main import canaryd
from canaryd.cluster.runs import parse
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import POLICIES, POLICY

QUIET = 5.0  # seconds without a write that show rest: several ticks


def settled(rehearsal: Rehearsal) -> None:
    """I6: after the last release nothing is written any more, and no invariant was broken at any time."""
    oracle = rehearsal.box.oracle
    deadline = time.monotonic() + 30
    written, since = oracle.writes, time.monotonic()
    while time.monotonic() - since < QUIET:
        assert time.monotonic() < deadline, "canaryd goes on writing after the end of the last run"
        if oracle.writes != written:
            written, since = oracle.writes, time.monotonic()
        time.sleep(0.2)
    assert [str(violation) for violation in oracle.finish(time.time())] == []


def repeated(rehearsal: Rehearsal) -> int:
    """Export the newest run and judge its recording again: each decision is the recorded one, the state the run's.

    Returns how many decisions there were.
    """
    run = parse(rehearsal.runs()[-1])
    arguments = ["export", run.name, "-n", run.namespace, "--kubeconfig", str(rehearsal.box.kubeconfig)]
    result = CliRunner().invoke(canaryd, arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    recording = recordings.read(result.stdout.splitlines())
    moments = list(recordings.replay(recording, recording.header.judge))
    assert [moment.record for moment in moments if moment.differs] == []
    assert run.evidence is not None
    assert moments[-1].state.to_json() == run.evidence.to_json()
    return sum(bool(record.decision) for record in recording.records)


def rehearsed(
    *,
    propagation: float = 0.5,
    traffic: bool = True,
    policy: Mapping[str, str] = MappingProxyType({}),
    prometheus: Callable[[Sandbox], str] | None = None,
    routed: bool = True,
    host: str = "",
) -> Iterator[Rehearsal]:
    """An application at rest in a sandbox of its own; what it must be at the end is checked.

    prometheus: the URL that canaryd is told instead of the sandbox's own; the rest as in `Rehearsal`.
    """
    with Sandbox(propagation=propagation) as box:
        rehearsal = Rehearsal(box, host=host)
        if prometheus is not None:
            rehearsal.daemon = box.daemon(POLICIES, POLICY, prometheus=prometheus(box))
        try:
            rehearsal.begin(policy, traffic=traffic, routed=routed)
            yield rehearsal
            if traffic:
                settled(rehearsal)
        finally:
            rehearsal.end()


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    """The application with traffic, shared by the releases of a module."""
    yield from rehearsed()
