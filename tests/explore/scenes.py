"""A scene of known numbers, with names that try to be more than text."""

from dataclasses import replace

import numpy as np

from ppl_vae.explore.scene import Column, Group, Pictures, Plane, Posterior, Scene, TableRows

COUNT, SIDE, DRAWS, GRID = 120, 8, 20, 5
HOSTILE = "<img src=x onerror=\"document.title='attacked'\">"
SCRIPT = "</script><script>document.title='attacked'</script>"
FORMULA = "$$\\href{javascript:document.title='attacked'}{x}$$"
TEMPLATE = "<%= document.title='attacked' %> @name{safe} \"quoted\" & 'single'"


def a_scene():
    """Data k on a spiral: k-hat is k / 100, but for an infinite and an unknown one; classes go round."""
    k = np.arange(COUNT)
    points = np.column_stack([np.cos(k / 9) * k / 30, np.sin(k / 9) * k / 30])
    khat = k / 100
    khat[7], khat[8] = np.inf, np.nan
    columns = [
        Column("class", k % 3, description="k modulo 3"),
        Column("k-hat", khat, description="the number of the datum over 100"),
        Column("log p(x)", -50.0 - k, np.full(COUNT, 0.25), "nats", "falls with k"),
        Column(HOSTILE, np.array([f"{TEMPLATE}{i}" for i in k]), description=SCRIPT),
        Column(FORMULA, np.array([SCRIPT if i % 2 else FORMULA for i in k])),
    ]
    ramp = np.broadcast_to((2 * k)[:, None, None], (COUNT, SIDE, SIDE)).astype(np.uint8)
    draws = points[:, None] + 0.1 * np.random.default_rng(0).normal(size=(COUNT, DRAWS, 2))
    reference = {0: (points[0] + np.array([[-1.0, 0], [1, 0], [0, 0.5], [0, -0.5]])).astype(np.float32)}
    covariance = np.tile(np.diag([0.04, 0.01]), (COUNT, 1, 1))
    ways = {0: f"by HMC {HOSTILE}"}
    posterior = Posterior(draws.astype(np.float32), points, covariance, reference, ways)
    # The grey level rises to the right alone, so that interpolation is known everywhere.
    levels = np.broadcast_to(np.linspace(0, 200, GRID)[None, :, None, None], (GRID, GRID, SIDE, SIDE))
    plane = Plane((-5.0, -5.0), (5.0, 5.0), levels.astype(np.uint8), "interpolated")
    groups = [Group(f"Verdict {HOSTILE}", "✗", f"five data {SCRIPT}", np.arange(90, 95), "k-hat")]
    pictures = Pictures({"datum": ramp, HOSTILE: 255 - ramp})
    return Scene(
        points, ("z₁", FORMULA), columns, "class", "k-hat", pictures, None, groups, posterior, plane, [SCRIPT],
        limit=0.7,
    )  # fmt: skip


def a_table_scene():
    """The same data as rows of twelve columns, each beside six draws: wider than any page."""
    values = np.arange(COUNT * 12.0).reshape(COUNT, 12)
    shown = dict.fromkeys(("datum", "reconstruction", *(f"draw {i}" for i in range(6))), values)
    rows = TableRows([f"measurement number {j}" for j in range(12)], shown)
    return replace(a_scene(), pictures=None, rows=rows, plane=None)


NAMES = [f"{SCRIPT}{k}" for k in range(COUNT)]
