"""The pages of ``compare --report`` and ``compare-recipes --report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppl_vae.extras import imported
from ppl_vae.files import write_atomically

if TYPE_CHECKING:
    import xarray as xr

# A run's folder has a report.html of its own, that of diagnose.
RECIPES, ESTIMATORS = "report.html", "comparison.html"
# What a table of compare_recipes holds, by its title for a reader.
RECIPE_NUMBERS = {
    "rate": ("rate", "nats"), "distortion": ("distortion", "nats"), "ELBO": ("elbo", "nats"),
    "log p(x), bound": ("log_evidence", "nats"), "active units": ("active_units", ""), "time": ("seconds", "s"),
}  # fmt: skip


def require_bokeh() -> None:
    """Refuse a report before any work is done where it cannot be drawn.

    Raises:
        ModelError: Bokeh cannot be imported.
    """
    imported("bokeh", "--report", "bokeh")


def write_recipes(table: xr.Dataset, folder: Path) -> Path:
    """Write the rate-distortion plane and the table of a comparison of recipes."""
    import numpy as np

    from ppl_vae.explore.comparison import Chart, comparison_page
    from ppl_vae.explore.scene import Column
    from ppl_vae.plots.rate_distortion import frontier

    about, seeds = table.attrs, table.sizes["seed"]
    numbers = table[[name for name, _ in RECIPE_NUMBERS.values()]]
    mean, spread = numbers.mean("seed"), numbers.std("seed", ddof=1) if seeds > 1 else None
    columns = [
        Column(title, mean[name].to_numpy(), None if spread is None else spread[name].to_numpy(), unit)
        for title, (name, unit) in RECIPE_NUMBERS.items()
    ]
    likelihoods = sorted({str(name) for name in table["likelihood"].to_numpy()})
    intro = [
        f"{about['num_data']} test data of {about['data']} (binarisation {about['binarization']}); nats per datum"
        + (f", means and one standard deviation over {seeds} seeds." if seeds > 1 else ", of one seed.")
    ]
    charts: list[Chart] = []
    if len(likelihoods) == 1:
        rate = mean["rate"].to_numpy().astype(np.float64)
        on = frontier(rate, mean["distortion"].to_numpy().astype(np.float64))
        columns.insert(0, Column("on the frontier", np.where(on, "yes", "no")))
        order = np.flatnonzero(on)[np.argsort(rate[on])]
        charts = [Chart("rate", "distortion", line=tuple(int(i) for i in order))]
        intro.append(
            "The line joins the recipes on the frontier, in blue: by their means no other has both a smaller rate, "
            "KL(q(z|x) || p(z)), and a smaller distortion, the mean of minus log p(x|z). "
            + (
                "A recipe whose bars reach the line is not told apart from those on it."
                if seeds > 1
                else "One seed tells no error: near the line nothing is decided."
            )
        )
    else:
        intro.append(f"Distortions under {', '.join(likelihoods)} do not compare, so that there is no plane.")
    names = [str(name) for name in table["recipe"].to_numpy()]
    page = comparison_page(f"Recipes on {about['data']}", intro, "recipe", names, columns, charts)
    return _written(page, folder / RECIPES)


def write_estimators(table: xr.Dataset, folder: Path) -> Path:
    """Write the variance of every estimator's gradient against its cost, and the numbers as a table."""
    import numpy as np

    from ppl_vae.explore.comparison import Chart, comparison_page
    from ppl_vae.explore.scene import Column

    about = table.attrs

    def column(title: str, name: str, unit: str = "") -> Column:
        error = f"{name}_stderr"
        errors = table[error].to_numpy() if error in table else None
        return Column(title, table[name].to_numpy(), errors, unit)

    columns = [
        Column("of", np.where(table["of_elbo"].to_numpy(), "ELBO", "log p(x)")),
        Column("draws", table["num_draws"].to_numpy()),
        column("value", "value", "nats"),
        column("minus ELBO", "bias_elbo", "nats"),
        column("minus log p(x)", "bias_evidence", "nats"),
        column("time", "milliseconds", "ms"),
    ]
    charts = []
    for group in table["group"].to_numpy():
        title = f"gradient variance, {group}"
        of_group = table.sel(group=group)
        columns.append(Column(title, of_group["gradient_variance"].to_numpy()))
        columns.append(Column(f"signal to noise, {group}", of_group["snr"].to_numpy()))
        charts.append(Chart("time", title, logarithmic=True))
    intro = [
        f"{about['model']} on {about['num_data']} {about['split']} data of {about['data']} (binarisation "
        f"{about['binarization']}, likelihood {about['likelihood']}); nats per datum. Of two estimators of one "
        "bound, the one further down and to the left is the better."
    ]
    names = [str(name) for name in table["estimator"].to_numpy()]
    return _written(
        comparison_page(f"Estimators on {about['data']}", intro, "estimator", names, columns, charts),
        folder / ESTIMATORS,
    )


def _written(page: str, path: Path) -> Path:
    write_atomically(path, page.encode(errors="backslashreplace"))
    return path
