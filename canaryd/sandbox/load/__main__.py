"""`python -m canaryd.sandbox.load`: load on a URL, with progress and a summary."""

import argparse
import asyncio
import signal
import sys

from canaryd.sandbox.load.client import Target
from canaryd.sandbox.load.generator import Generator, Plan
from canaryd.sandbox.load.report import LogRow, Report, encode


def main() -> int:
    """Exit code 0, or 2 for wrong arguments. SIGTERM and Ctrl-C end the run early, with its summary."""
    parser = argparse.ArgumentParser(prog="python -m canaryd.sandbox.load", description=__doc__)
    parser.add_argument("--url", required=True, help="http://host[:port][/path]")
    parser.add_argument("--host", default="", help="the Host header, where it is not the URL's host")
    parser.add_argument("--rps", type=float, default=300.0, help="requests per second (300)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to send (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of sending (0)")
    parser.add_argument("--json", action="store_true", help="a report as a line of JSON every 0.5 s")
    args = parser.parse_args()
    try:
        target, plan = Target.of(args.url, args.host), Plan(args.rps, args.seconds, args.seed)
    except ValueError as error:
        parser.error(str(error))
    asyncio.run(_run(target, plan, as_json=args.json))
    return 0


async def _run(target: Target, plan: Plan, *, as_json: bool) -> None:
    generator = Generator(target, plan, _tell_json if as_json else _tell, period=0.5 if as_json else 1.0)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, generator.stop)
    report = await generator.run()
    if not as_json:
        sys.stdout.write("\n" + summary(report))


def summary(report: Report) -> str:
    """The totals as a table."""
    lines = [
        f"{report.sent} sent in {report.seconds:.1f} s, {report.answered} answered, {report.failed} failed, "
        f"{report.dropped} dropped, {report.retried} sent again",
        f"{'':32}{'requests':>10}{'failed':>10}{'p50 ms':>10}{'p90 ms':>10}{'p99 ms':>10}",
    ]
    for name, tally in [*sorted(report.roles.items()), *sorted(report.pods.items())]:
        times = f"{tally.p50_ms:>10.1f}{tally.p90_ms:>10.1f}{tally.p99_ms:>10.1f}"
        lines.append(f"{name:32}{tally.requests:>10}{tally.failed:>10}{times}")
    lines += [f"  {count} x {kind}" for kind, count in sorted(report.failures.items())]
    return "\n".join(lines) + "\n"


def _tell(report: Report, rows: list[LogRow]) -> None:
    del rows
    parts = []
    for role, tally in sorted(report.roles.items()):
        failed = 100 * tally.failed / tally.requests
        parts.append(f"{role} {tally.requests} ({failed:.2f} % failed, p99 {tally.p99_ms:.0f} ms)")
    sys.stdout.write(f"{report.seconds:6.1f} s  {report.sent:7} sent  {'  '.join(parts)}\n")
    sys.stdout.flush()


def _tell_json(report: Report, rows: list[LogRow]) -> None:
    sys.stdout.write(encode(report, rows) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
