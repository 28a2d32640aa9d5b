"""Laws that every figure keeps, over one table of all of them."""

import inspect
import io
import pickle

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from ppl_vae import plots
from ppl_vae.errors import ModelError
from ppl_vae.models import latent_map
from ppl_vae.spaces import POINCARE_BALL
from tests.inference.comparisons import made_table
from tests.plots.pictures import images
from tests.plots.test_attribute_changes import made_changes
from tests.plots.test_calibration import made_calibration
from tests.plots.test_class_structure import made_classes
from tests.plots.test_coverage import made_coverage
from tests.plots.test_density_ratio import made_ratio
from tests.plots.test_disentanglement import made_scores
from tests.plots.test_estimators import along
from tests.plots.test_evidence import made_curve
from tests.plots.test_gaps import split_gaps
from tests.plots.test_khat import made_khat
from tests.plots.test_predictive import made_predictive
from tests.plots.test_rate_distortion import compared
from tests.plots.test_reference_posterior import two_sets
from tests.plots.test_sweep import made_sweep

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2],
        "loss": 3.0,
        "train_elbo": [-3.0, -2.0],
        "train_log_likelihood": -1.0,
        "train_kl": 1.0,
    }
)


def table(rows):
    """Numbers of five columns."""
    return np.random.default_rng(rows).normal(size=(rows, 5))


def made_recovery():
    """Truths and means of eight latents."""
    truth = table(30)[:, :1] + np.zeros(8)
    columns = {"truth": truth, "mean": 0.9 * truth, "z_score": truth, "contraction": abs(truth)}
    per_latent = {name: ("quantity", np.ones(8)) for name in ("recovery", "rms_z")}
    named = {"quantity": [f"z[{index}]" for index in range(8)]}
    return xr.Dataset({name: (("simulation", "quantity"), x) for name, x in columns.items()} | per_latent, named)


def made_typicality():
    """Statistics of data and of simulations."""
    ours, theirs = abs(table(30).T), abs(table(40).T)
    columns = {"log_evidence": ours[0], "distance": ours[1], "p_value": np.linspace(0, 1, 30)}
    simulated = {"simulated_log_evidence": theirs[0], "simulated_distance": theirs[1]}
    return xr.Dataset(
        {name: ("datum", x) for name, x in columns.items()}
        | {name: ("simulation", x) for name, x in simulated.items()}
    )


def made_path():
    """Evidence along both paths."""
    values = xr.DataArray(
        table(2), dims=("path", "t"), coords={"path": ["latent", "pixels"], "t": np.linspace(0, 1, 5)}
    )
    return xr.Dataset({"log_evidence": values, "log_evidence_stderr": abs(values)})


def made_foreign():
    """Scores of held-out data and of two foreign sets."""
    scores = np.stack([table(30)[:, :2], table(30)[:, 1:3] - 1, table(30)[:, 2:4]])
    names = {"set": ["held out", "letters", "shirts"], "foreign": ["letters", "shirts"]}
    areas = {
        name: (("foreign", "score"), np.full((2, 2), x)) for name, x in (("auroc", 0.7), ("auroc_stderr", 0.1))
    }
    return xr.Dataset(
        {"scores": (("set", "datum", "score"), scores), "mean_log_evidence": ("set", np.zeros(3)), **areas},
        {**names, "score": ["log_evidence", "typicality"]},
    )


def made_local_c2st():
    """Three data of which one was found."""
    null = np.random.default_rng(0).gamma(2.0, 0.01, size=(40, 3))
    statistic, found = np.array([0.02, 0.4, 0.01]), np.array([False, True, False])
    return xr.Dataset(
        {
            "statistic": ("datum", statistic),
            "found": ("datum", found),
            "null_statistic": (("null", "datum"), null),
        }
    )


def made_map():
    codes = torch.tensor([[0.1, 0.2], [-0.5, 0.0], [0.0, 0.9]])
    return latent_map(POINCARE_BALL, codes, codes[None, :2] * torch.linspace(0, 1, 5)[:, None, None])


FIGURES = {
    "sweep": lambda **kw: plots.plot_sweep(made_sweep(), **kw),
    "path_evidence": lambda **kw: plots.plot_path_evidence(made_path(), **kw),
    "foreign": lambda **kw: plots.plot_foreign(made_foreign(), **kw),
    "recovery": lambda **kw: plots.plot_recovery(made_recovery(), **kw),
    "local_c2st": lambda **kw: plots.plot_local_c2st(made_local_c2st(), **kw),
    "typicality": lambda **kw: plots.plot_typicality(made_typicality(), **kw),
    "calibration": lambda **kw: plots.plot_calibration(made_calibration(), **kw),
    "class_structure": lambda **kw: plots.plot_class_structure(made_classes(), **kw),
    "density_ratio": lambda **kw: plots.plot_density_ratio(made_ratio(), **kw),
    "coverage": lambda **kw: plots.plot_coverage(made_coverage(), **kw),
    "disentanglement": lambda **kw: plots.plot_disentanglement(made_scores(), **kw),
    "predictive": lambda **kw: plots.plot_predictive(made_predictive(), **kw),
    "learning_curves": lambda **kw: plots.plot_learning_curves(HISTORY, **kw),
    "reconstructions": lambda **kw: plots.plot_reconstructions(images(3), images(3), **kw),
    "samples": lambda **kw: plots.plot_samples(images(5), **kw),
    "latent_kl": lambda **kw: plots.plot_latent_kl({"vae": [2.0, 0.5, 0.0], "beta = 4": [0.001, 0.0]}, **kw),
    "latent_scatter": lambda **kw: plots.plot_latent_scatter(np.eye(3), np.arange(3), **kw),
    "latent_map": lambda **kw: plots.plot_latent_map(made_map(), np.arange(3), **kw),
    "manifold": lambda **kw: plots.plot_manifold(images(3, 3), **kw),
    "interpolations": lambda **kw: plots.plot_interpolations(images(3, 2), **kw),
    "traversals": lambda **kw: plots.plot_traversals(images(2, 3), [-1, 0, 1], **kw),
    "estimator_cost": lambda **kw: plots.plot_estimator_cost(made_table(), **kw),
    "estimator_values": lambda **kw: plots.plot_estimator_values(made_table(), **kw),
    "snr": lambda **kw: plots.plot_snr(along("num_particles", (1, 4, 16)), **kw),
    "gradient_variance": lambda **kw: plots.plot_gradient_variance(along("epoch", (1, 5)), **kw),
    "rate_distortion": lambda **kw: plots.plot_rate_distortion(compared(), **kw),
    "gains": lambda **kw: plots.plot_gains({"flow": (0.4, 0.1)}, **kw),
    "gaps": lambda **kw: plots.plot_gaps(split_gaps(), **kw),
    "reference": lambda **kw: plots.plot_reference(two_sets(), **kw),
    "khat": lambda **kw: plots.plot_khat(made_khat(), **kw),
    "worst_data": lambda **kw: plots.plot_worst_data(images(40), made_khat(40), **kw),
    "worst_rows": lambda **kw: plots.plot_worst_rows(table(40), made_khat(40), **kw),
    "evidence_curve": lambda **kw: plots.plot_evidence_curve(made_curve(), -3.0, **kw),
    "latent_holes": lambda **kw: plots.plot_latent_holes({"VAE": images(20), "real": images(20)}, **kw),
    "image_rows": lambda **kw: plots.plot_image_rows({"input": images(4), "output": images(4)}, **kw),
    "attribute_changes": lambda **kw: plots.plot_attribute_changes(made_changes(), **kw),
    "marginals": lambda **kw: plots.plot_marginals(table(40), table(60), **kw),
    "pairs": lambda **kw: plots.plot_pairs(table(40), table(60), **kw),
    "column_reconstructions": lambda **kw: plots.plot_column_reconstructions(table(40), table(40), **kw),
    "latent_arithmetic": lambda **kw: plots.plot_latent_arithmetic(images(2, 3), [-1, 0, 1], "bold", **kw),
}


@pytest.fixture(params=FIGURES)
def draw(request):
    return FIGURES[request.param]


def test_the_table_holds_every_public_plot():
    assert {f"plot_{name}" for name in FIGURES} == set(plots.__all__)


def test_leaves_nothing_global_behind(draw):
    mpl.use("agg")
    before, generator = dict(mpl.rcParams), torch.get_rng_state()
    figure = draw()
    figure.savefig(io.BytesIO())
    assert isinstance(figure, Figure)
    assert plt.get_fignums() == []
    assert dict(mpl.rcParams) == before
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.slow
def test_title_is_optional(draw):
    assert draw().get_suptitle() == ""
    assert draw(title="Digits").get_suptitle() == "Digits"


WHOLE = "a whole figure of several axes"


def of(name):
    return getattr(plots, f"plot_{name}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_takes_the_readers_axes_or_says_why_not(name):
    """Whatever has one panel draws on the axes of a paper's own figure, and on nothing else there."""
    if "ax" not in inspect.signature(of(name)).parameters:
        assert WHOLE in " ".join(inspect.getdoc(of(name)).split())
        return
    assert WHOLE not in inspect.getdoc(of(name))
    theirs, (left, right) = plt.subplots(1, 2, layout="constrained")
    plt.close(theirs)
    figure = FIGURES[name](ax=right, title="Digits")
    assert figure is theirs
    assert right.has_data() or right.images
    assert not left.has_data()
    assert not theirs.legends
    assert right.get_title(loc="left") == "Digits"
    figure.draw_without_rendering()
    with pytest.raises(ModelError, match="give ax or figsize, not both"):
        FIGURES[name](ax=right, figsize=(3, 3))
    with pytest.raises(ModelError, match="ax: expected one matplotlib Axes, got ndarray"):
        FIGURES[name](ax=np.array([left, right]))


@pytest.mark.slow
def test_has_the_size_that_is_asked_for(draw):
    figure = draw(figsize=(5.5, 6.5))
    figure.draw_without_rendering()
    assert tuple(figure.get_size_inches()) == (5.5, 6.5)
    with pytest.raises(ModelError, match="figsize: expected a positive width and height"):
        draw(figsize=(5.5, -1))


def test_all_ink_lies_inside_the_figure_and_fills_it(draw):
    """Labels are not cut off, and less than a quarter of an inch is wasted at any side."""
    figure = draw(title="Digits")
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    ink = figure.get_tightbbox()
    assert min(ink.x0, ink.y0, width - ink.x1, height - ink.y1) > 0
    assert max(ink.x0, ink.y0, width - ink.x1, height - ink.y1) < 0.25


@pytest.mark.slow
def test_a_notebook_gets_a_png_of_the_figure(draw):
    figure = draw()
    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        size = np.array(picture.size) / figure.dpi
    assert np.allclose(size, figure.get_size_inches(), atol=0.5)


@pytest.mark.slow
def test_a_dark_style_of_the_reader_leaves_it_legible(draw):
    with plt.style.context("dark_background"):
        figure = draw(title="Digits")
        figure.draw_without_rendering()
    assert to_hex(figure.get_facecolor()) == "#ffffff"
    written = [text for text in figure.findobj(Text) if text.get_text()]
    assert written
    assert all(sum(to_rgb(text.get_color())) < 2.0 for text in written)


@pytest.mark.slow
def test_survives_pickling(draw):
    again = pickle.loads(pickle.dumps(draw(title="Digits")))
    assert again.get_suptitle() == "Digits"
    assert len(again.axes) == len(draw().axes)
