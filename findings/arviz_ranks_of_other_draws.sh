#!/usr/bin/env bash
# ArviZ's ranks of whole-number draws are those of other draws: over 40,000 coins they do not correlate with them.
#
# The guess, before the run: compute_ranks breaks or averages the ties of whole numbers in some way, and keeps the
#   order apart from that: every 1 ranks above every 0. Ranks of a fair coin and its values correlate to .866, the
#   square root of 3/4, where ties are broken and to 1 where they are averaged, as they do for the same numbers as
#   floats.
# What was seen: .86 for 400 draws, .12 for 4000 and .01 for 40,000, where a 1 ranks below a 0 in half of all pairs.
#   Ties are broken by a spline through the draws in their order, read .001 of a unit of value away; with n draws over
#   a range of r that is .001 n / r draws away: four at 4000, forty at 40,000, forwards at the beginning and backwards
#   at the end.
# Why it matters: the ranks stand in rank plots, in the marks of divergent draws in plot_ess and plot_mcse and in
#   parallel plots of ranks. Discrete latents (a cluster, an inclusion) and counts of topics are whole numbers. Give
#   floats, or add noise smaller than the gap.
# Versions: ArviZ 0.23.4, arviz-stats 0.8.0 (1.3.3 gives the same figures). Source: compute_ranks in
#   arviz/plots/plot_utils.py, _compute_ranks in arviz_stats/base/core.py.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile arviz==0.23.4 arviz-stats==0.8.0 numpy==2.4.6 scipy==1.17.1 \
    pandas==3.0.1 xarray==2026.9.0 matplotlib==3.10.8
"$work/venv/bin/python" -W ignore - <<'EOF'
from importlib.metadata import version

import numpy as np
from arviz.plots.plot_utils import compute_ranks
from arviz_stats.base import array_stats

generator = np.random.default_rng(0)
ranks_by = {f"ArviZ {version('arviz')}": compute_ranks,
            f"arviz-stats {version('arviz-stats')}": array_stats.compute_ranks}
for name, ranks_of in ranks_by.items():
    seen = {}
    for num_draws in (400, 4000, 40_000):
        coins = generator.integers(0, 2, num_draws)
        whole = ranks_of(coins)
        seen[num_draws] = np.corrcoef(whole, coins)[0, 1]
        as_floats = np.corrcoef(ranks_of(coins.astype(float)), coins)[0, 1]
        below = (whole[coins == 1][:, None] < whole[coins == 0][None, ::37]).mean()
        print(f"{name}, {num_draws} draws: correlation of ranks and draws {seen[num_draws]:.3f}, "
              f"of floats {as_floats:.3f}; a 1 ranks below a 0 in {100 * below:.0f} % of pairs, expected 0")
        # Exactly tied ranks correlate to 1, ties broken at random to .866.
        assert as_floats > 0.85, "the behaviour of floats has changed"
    assert seen[400] > 0.8 and seen[4000] < 0.3 and seen[40_000] < 0.1, "the behaviour has changed"
EOF
