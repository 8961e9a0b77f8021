"""The arena: every judge of releases on the same simulated releases.

`python -m analysis.arena` runs it. `Scenario` and `Release` are the simulator, of use on their own.
"""

from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Release, Tick

__all__ = ["Release", "Scenario", "Tick"]
