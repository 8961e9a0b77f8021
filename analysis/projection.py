"""Two proportions and a margin: the null's member nearest to an alternative.

Against a convex null the likelihood ratio of the alternative (theta_c, theta_b) to the null's member that
minimises n_c KL(theta_c || .) + n_b KL(theta_b || .) has expectation at most 1 under **every** member of the
null: the reverse information projection (Gruenwald, de Heide and Koolen 2024, theorem 1; for blocks of two
proportions Turner, Ly and Gruenwald 2024, theorem 1). Proof for our case: the expectation is
g_c^n_c g_b^n_b with g linear and 1 at the projection, its logarithm is at most n_c (g_c - 1) + n_b (g_b - 1),
and that is minus the derivative of the divergence in the direction of the member, which convexity keeps at
most 0. It holds as well when the requests of an arm differ among themselves, if their means lie in the null.

Here the null is {p_c <= r p_b + delta} (harm) or {p_c >= r p_b + delta} (safety): r = 1 is a margin on the
difference, delta = 0 one on the ratio of risks. Where the search for the projection stops short of it, what
is left of the derivative, times the farthest that the null reaches, is taken off the factor: the bound does
not hang on the search.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_INSIDE: Final = 1e-15  # the divergence is infinite on the border itself
_ITERATIONS: Final = 80
_SETTLED: Final = 1e-5  # relative step whose successor, as Newton's steps shrink, is below 1e-9


def project(
    n_c: Floats | float,
    n_b: Floats | float,
    theta_c: Floats,
    theta_b: Floats,
    delta: Floats,
    ratio: float = 1.0,
) -> tuple[Floats, Floats]:
    """The point (c, b) of the line c = ratio b + delta nearest to (theta_c, theta_b).

    n_c, n_b > 0, numbers or arrays; the others arrays of one shape: theta in the open interval (0, 1), delta
    in [0, 1); ratio > 0.
    """
    c, b, _ = _nearest(n_c, n_b, theta_c, theta_b, delta, ratio)
    return c, b


def _nearest(
    n_c: Floats | float,
    n_b: Floats | float,
    theta_c: Floats,
    theta_b: Floats,
    delta: Floats,
    ratio: float = 1.0,
) -> tuple[Floats, Floats, Floats]:
    """As `project`, and what is left of the derivative.

    Newton's method, kept in a bracket; it begins where the forces of small proportions balance, which is the
    root of a quadratic.
    """
    end = (theta_c - delta) / ratio  # where the line passes theta_c; between it and theta_b lies the root
    highest = np.minimum(1.0, (1.0 - delta) / ratio) - _INSIDE
    low = np.clip(np.minimum(end, theta_b), _INSIDE, highest)
    high = np.clip(np.maximum(end, theta_b), _INSIDE, highest)
    pulled = ratio * n_c
    pooled = np.minimum(np.maximum((pulled * end + n_b * theta_b) / (pulled + n_b), low), high)
    weight_c, weight_b = pulled / (1 - delta - ratio * pooled), n_b / (1 - pooled)
    square = ratio * (weight_c + weight_b)
    linear = weight_c * (delta - theta_c) + weight_b * (delta - ratio * theta_b)
    root = np.sqrt(linear * linear + 4 * square * weight_b * delta * theta_b)
    b = np.minimum(np.maximum((root - linear) / (2 * square), low), high)
    for _ in range(_ITERATIONS):
        c = ratio * b + delta
        spread_c, spread_b = c * (1 - c), b * (1 - b)
        force_c, force_b = pulled * (c - theta_c) / spread_c, n_b * (b - theta_b) / spread_b
        slope = force_c + force_b
        # d/dx (x - t) / (x (1 - x)) = (1 - (1 - 2 x) (x - t) / (x (1 - x))) / (x (1 - x))
        curvature = (
            ratio * (pulled - (1 - 2 * c) * force_c) / spread_c + (n_b - (1 - 2 * b) * force_b) / spread_b
        )
        step = slope / curvature
        if (np.abs(step) <= _SETTLED * np.minimum(b, highest - b)).all():
            b = b - step
            break
        low, high = np.where(slope <= 0, b, low), np.where(slope >= 0, b, high)
        b = b - step
        b = np.where((b >= low) & (b <= high), b, (low + high) / 2)
    b = np.minimum(np.maximum(b, _INSIDE), highest)
    c = ratio * b + delta
    slope = pulled * (c - theta_c) / (c * (1 - c)) + n_b * (b - theta_b) / (b * (1 - b))
    return c, b, np.asarray(slope)


class Bets(NamedTuple):
    """log of each e-value as a line: canary x (bad events) + baseline x (bad events) + constant; where the null's
    nearest member lies, (null_c, null_b)."""

    canary: Floats
    baseline: Floats
    constant: Floats
    null_c: Floats
    null_b: Floats


def bets(
    n_c: float,
    n_b: float,
    *,
    theta_c: Floats,
    theta_b: float,
    delta: Floats,
    harm: NDArray[np.bool_],
    ratio: float = 1.0,
) -> Bets:
    """The bet on each alternative (theta_c, theta_b) against its null; arrays of one shape.

    n_c, n_b: requests. harm: true where the null is {p_c <= ratio p_b + delta}, false where it is
    {p_c >= ratio p_b + delta}. A delta below 0 is allowed for ratio 1. An alternative that lies inside its null,
    or an empty arm, gives 0: no bet. The alternatives must come from the past.
    """
    outside = (theta_c > ratio * theta_b + delta) == harm
    if n_c == 0 or n_b == 0 or not outside.any():
        zero = np.zeros_like(theta_c)
        return Bets(zero, zero, zero, theta_c, np.full_like(theta_c, theta_b))
    if delta.min() >= 0:
        c, b, slope = _nearest(n_c, n_b, theta_c, np.full_like(theta_c, theta_b), delta, ratio)
    else:  # {p_b = p_c - delta}: the arms change places
        turned = delta < 0
        c, b, slope = _nearest(
            np.where(turned, n_b, n_c),
            np.where(turned, n_c, n_b),
            np.where(turned, theta_b, theta_c),
            np.where(turned, theta_c, theta_b),
            np.abs(delta),
        )
        c, b = np.where(turned, b, c), np.where(turned, c, b)
    fine_c, fine_b = np.log((1 - theta_c) / (1 - c)), np.log((1 - theta_b) / (1 - b))
    return Bets(
        (np.log(theta_c / c) - fine_c) * outside,
        (np.log(theta_b / b) - fine_b) * outside,
        (n_c * fine_c + n_b * fine_b - np.abs(slope)) * outside,
        c,
        b,
    )


def log_factors(
    canary: tuple[float, float],
    baseline: tuple[float, float],
    *,
    theta_c: Floats,
    theta_b: float,
    delta: Floats,
    harm: NDArray[np.bool_],
    ratio: float = 1.0,
) -> Floats:
    """log of the e-value of each bet; canary, baseline: (bad events, requests), the rest as for `bets`."""
    (x_c, n_c), (x_b, n_b) = canary, baseline
    found = bets(n_c, n_b, theta_c=theta_c, theta_b=theta_b, delta=delta, harm=harm, ratio=ratio)
    return x_c * found.canary + x_b * found.baseline + found.constant


def at_odds(odds: Floats | float, theta: float) -> Floats:
    """The proportion whose odds are `odds` times those of theta; shape as `odds`."""
    scaled = np.asarray(odds, dtype=np.float64) * theta
    return np.asarray(scaled / (1 - theta + scaled))
