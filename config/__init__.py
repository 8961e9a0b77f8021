"""Every knob of canaryd: settings, policies and annotations, their units, ranges, defaults and reasons.

The tables (`POLICY_KNOBS`, `SETTING_KNOBS`, `ANNOTATIONS`) are the only place where a knob is described:
the YAML reader, the environment, the annotation parser, the CanaryRun schema and docs/configuration.md
all follow from them.
"""

from config.annotations import AnnotationError, Managed, VirtualServiceRef
from config.policy import SHIPPED, Policy
from config.problems import ConfigurationError, Problem
from config.settings import Settings

__all__ = [
    "SHIPPED",
    "AnnotationError",
    "ConfigurationError",
    "Managed",
    "Policy",
    "Problem",
    "Settings",
    "VirtualServiceRef",
]
