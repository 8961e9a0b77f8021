"""`canaryd run`: the daemon."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from config import Settings

_ASKING = 16  # runs whose own metrics are asked for at the same time


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CANARYD_CONFIG",
    help="The configuration file (default: none, everything at its default).",
)
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Default: $KUBECONFIG, ~/.kube/config, in-cluster."
)
@click.option("--context", help="A context of the kubeconfig.")
@click.option("--prometheus", "prometheus_url", metavar="URL", help="Overrides prometheus.url.")
@click.option("--tick", help="Overrides tick, such as 15s.")
@click.option("--settle", help="Overrides settle, such as 15s.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Overrides log.level."
)
def run(
    file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    prometheus_url: str | None,
    tick: str | None,
    settle: str | None,
    log_level: str | None,
) -> None:
    """Watch annotated Deployments and release their new versions.

    Stops on SIGTERM or Ctrl-C; whatever is under way is continued by the next start.

    \b
    Examples:
      canaryd run --prometheus http://localhost:9090
      canaryd run --config canaryd.yaml --kubeconfig ~/.kube/config --context staging

    \b
    Exit codes: 0 stopped, 1 the cluster cannot be used, 2 wrong usage or configuration.
    """
    from canaryd.cli.logging import configure
    from config import ConfigurationError
    from config.load import load

    overrides = {"prometheus.url": prometheus_url, "tick": tick, "settle": settle, "log.level": log_level}
    try:
        settings = load(file, os.environ, overrides)
    except ConfigurationError as fault:
        click.echo(str(fault), err=True)
        sys.exit(2)
    configure(settings.log.level, settings.log.format)
    sys.exit(serve(settings, kubeconfig, context))


def serve(settings: Settings, kubeconfig: Path | None, context: str | None) -> int:
    """Run the daemon until a signal comes; the exit code."""
    from analysis.prometheus import client, interval_builder
    from canaryd.cluster.errors import ApiError
    from canaryd.cluster.transport import Api
    from canaryd.controller.daemon import Daemon
    from canaryd.web.probes import Probes

    try:
        api = Api.connect(
            str(kubeconfig) if kubeconfig else None,
            context,
            timeout=(settings.api.connect_timeout, settings.api.timeout),
            pool=settings.workers + 16 * (len(settings.namespaces) or 1),
        )
    except ApiError as error:
        click.echo(str(error), err=True)
        return 1
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    # Their own client: queries of a policy's that hang must not take the places of the others.
    asks = client(settings.prometheus, pool=_ASKING).vectors
    daemon = Daemon(api, settings, interval_builder(settings.prometheus), asks)
    probes = None
    if settings.listen.probes:
        probes = Probes(settings.listen.probes, daemon.unhealthy, daemon.unready)
        probes.start()
    threading.Thread(target=daemon.start, name="start", daemon=True).start()
    stopping.wait()
    daemon.stop()
    if probes is not None:
        probes.stop()
    api.close()
    return 0
