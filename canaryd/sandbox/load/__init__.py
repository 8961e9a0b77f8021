"""A load generator for the sandbox: the users whose requests a release may not harm.

Open loop: requests leave at a fixed rate, however slow the answers, as those of many independent users do; a
closed loop would fall silent just when the service gets slow. It runs in a process of its own.
"""

from canaryd.sandbox.load.process import Load, LoadError
from canaryd.sandbox.load.report import LogRow, Report, Tally

__all__ = ["Load", "LoadError", "LogRow", "Report", "Tally"]
