"""`canaryd export`: a run's recorded intervals as a file, for `canaryd replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from canaryd.domain.model import Run


@click.command()
@click.argument("run", metavar="RUN")
@click.option("-n", "--namespace", default="default", show_default=True, help="The run's.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default="-",
    help="The file to write; standard output by default.",
)
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Default: $KUBECONFIG, ~/.kube/config, in-cluster."
)
@click.option("--context", help="A context of the kubeconfig.")
def export(run: str, namespace: str, output: Path, kubeconfig: Path | None, context: str | None) -> None:
    """Write every interval that RUN was judged on, and what was decided then, as JSON lines.

    RUN is the name that `kubectl get crun` shows. Works while the run is under way, and as long as its CanaryRun
    is kept. Needs to get canaryruns and configmaps in its namespace.

    \b
    Examples:
      canaryd export checkout-fff627b5cb -n shop -o checkout.jsonl
      canaryd export checkout-fff627b5cb -n shop | canaryd replay -

    \b
    Exit codes: 0 written, 1 there is no such run, it has no recording, or the cluster cannot be used,
    2 wrong usage.
    """
    from canaryd.cluster.errors import ApiError
    from canaryd.cluster.recordings import SpoiltRecordingError, read
    from canaryd.cluster.transport import Api

    try:
        api = Api.connect(str(kubeconfig) if kubeconfig else None, context)
        try:
            found, lines = read(api, namespace, run)
        finally:
            api.close()
    except (ApiError, SpoiltRecordingError, ValueError) as error:
        _fail(str(error))
    if not lines:
        _fail(f"run {namespace}/{run} has no recording{_because(found)}")
    try:
        with click.open_file(str(output), "w", encoding="utf-8") as stream:
            stream.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        _fail(f"{output}: {error.strerror or error}")
    if found.recorded.ended:
        click.echo(f"the recording is not complete{_because(found)}", err=True)


def _because(run: Run) -> str:
    return f": {run.recorded.ended}" if run.recorded.ended else ""


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)
