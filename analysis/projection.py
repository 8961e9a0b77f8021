"""Two proportions and a margin on their difference: the null's member nearest to an alternative.

Against a convex null the likelihood ratio of the alternative (theta_c, theta_b) to the null's member that
minimises n_c KL(theta_c || .) + n_b KL(theta_b || .) has expectation at most 1 under **every** member of the
null: the reverse information projection (Gruenwald, de Heide and Koolen 2024, theorem 1; for blocks of two
proportions Turner, Ly and Gruenwald 2024, theorem 1). Proof for our case: the expectation is
g_c^n_c g_b^n_b with g linear and 1 at the projection, its logarithm is at most n_c (g_c - 1) + n_b (g_b - 1),
and that is minus the derivative of the divergence in the direction of the member, which convexity keeps at
most 0. It holds as well when the requests of an arm differ among themselves, if their means lie in the null.

Here the null is {p_c <= p_b + delta} (harm) or {p_c >= p_b + delta} (safety).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_INSIDE: Final = 1e-15  # the divergence is infinite on the border itself
_ITERATIONS: Final = 80
_SETTLED: Final = 1e-9  # relative step whose successor, as Newton's steps shrink, is below a double's digits


def project(n_c: float, n_b: float, theta_c: Floats, theta_b: Floats, delta: Floats) -> tuple[Floats, Floats]:
    """The point (c, b) of the line c = b + delta nearest to (theta_c, theta_b); arrays of one shape.

    n_c, n_b > 0; theta in the open interval (0, 1); delta in [0, 1). Newton's method on the derivative,
    kept in a bracket.
    """
    ends = theta_c - delta, theta_b
    low = np.clip(np.minimum(*ends), _INSIDE, 1.0 - delta - _INSIDE)
    high = np.clip(np.maximum(*ends), _INSIDE, 1.0 - delta - _INSIDE)
    b = (n_c * ends[0] + n_b * ends[1]) / (n_c + n_b)  # exact for delta = 0
    b = np.where((b > low) & (b < high), b, (low + high) / 2)
    rest_c, rest_b = n_c * (1 - theta_c), n_b * (1 - theta_b)
    for _ in range(_ITERATIONS):
        c = b + delta
        pull = n_c * theta_c / c, rest_c / (1 - c), n_b * theta_b / b, rest_b / (1 - b)
        slope = pull[1] - pull[0] + pull[3] - pull[2]
        curvature = pull[0] / c + pull[1] / (1 - c) + pull[2] / b + pull[3] / (1 - b)
        low, high = np.where(slope <= 0, b, low), np.where(slope >= 0, b, high)
        proposal = b - slope / curvature
        proposal = np.where((proposal >= low) & (proposal <= high), proposal, (low + high) / 2)
        moved = np.abs(proposal - b)
        b = proposal
        if np.all(moved <= _SETTLED * np.minimum(b, 1 - b - delta)):
            break
    return b + delta, b


def log_factors(
    canary: tuple[int, int],
    baseline: tuple[int, int],
    *,
    theta_c: Floats,
    theta_b: float,
    delta: Floats,
    harm: NDArray[np.bool_],
) -> Floats:
    """log of the e-value of each alternative (theta_c, theta_b) against its null; arrays of one shape.

    canary, baseline: (bad events, requests). harm: true where the null is {p_c <= p_b + delta}, false where
    it is {p_c >= p_b + delta}. An alternative that lies inside its null, or an empty arm, gives 0: no bet.
    The alternatives must come from the past.
    """
    (x_c, n_c), (x_b, n_b) = canary, baseline
    outside = np.where(harm, theta_c > theta_b + delta, theta_c < theta_b + delta)
    if n_c == 0 or n_b == 0 or not outside.any():
        return np.zeros_like(theta_c)
    c, b = project(n_c, n_b, theta_c, np.full_like(theta_c, theta_b), delta)
    log_ratio = (
        x_c * np.log(theta_c / c)
        + (n_c - x_c) * (np.log1p(-theta_c) - np.log1p(-c))
        + x_b * np.log(theta_b / b)
        + (n_b - x_b) * (np.log1p(-theta_b) - np.log1p(-b))
    )
    return np.where(outside, log_ratio, 0.0)


def at_odds(odds: Floats | float, theta: float) -> Floats:
    """The proportion whose odds are `odds` times those of theta; shape as `odds`."""
    scaled = np.asarray(odds, dtype=np.float64) * theta
    return np.asarray(scaled / (1 - theta + scaled))
