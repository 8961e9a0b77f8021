"""`python -m canaryd.sandbox.apiserver`: the API server alone, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click

from canaryd.sandbox.apiserver.server import ApiServer


@click.command()
@click.option("--port", default=0, show_default="a free one", help="Port on 127.0.0.1.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Write a kubeconfig for the server here.")
@click.option("--history", default=10_000, show_default=True, help="Changes that a watch can go back.")
def main(port: int, kubeconfig: Path | None, history: int) -> None:
    """Serve the Kubernetes API from memory."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with ApiServer(port, history=history) as server:
        if kubeconfig is not None:
            server.kubeconfig(kubeconfig)
        click.echo(server.url)
        ended.wait()


if __name__ == "__main__":
    main()
