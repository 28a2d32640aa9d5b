"""The pages that compare: numbers, frontier and hostile names."""

import json

import numpy as np
import pytest
import xarray as xr

from tests.explore.scenes import HOSTILE, SCRIPT

pytest.importorskip("bokeh")


@pytest.fixture(scope="module")
def table():
    """Of four recipes and two seeds: the third has a larger rate and a larger distortion than the second."""
    rate = np.array([[1.0, 1.2], [4.0, 4.4], [5.0, 5.2], [9.0, 9.2]])
    distortion = np.array([[40.0, 42.0], [30.0, 30.2], [35.0, 35.4], [20.0, 20.8]])
    values = {
        "rate": rate,
        "distortion": distortion,
        "elbo": -rate - distortion,
        "log_evidence": -rate - distortion + 1,
    }
    values |= {"active_units": rate, "seconds": rate}
    variables = {name: (("recipe", "seed"), each) for name, each in values.items()}
    names = ["vae", HOSTILE, SCRIPT, "beta-vae:beta=4"]
    variables["likelihood"] = ("recipe", ["bernoulli"] * 4)
    about = {"num_data": 100, "data": HOSTILE, "binarization": "threshold"}
    return xr.Dataset(variables, {"recipe": names, "seed": [0, 1]}, about)


@pytest.fixture(scope="module")
def path(table, tmp_path_factory):
    from ppl_vae.cli.comparison_report import write_recipes

    return write_recipes(table, tmp_path_factory.mktemp("recipes"))


def test_the_page_of_recipes_holds_means_spreads_and_the_frontier(path):
    text = path.read_text()
    assert HOSTILE not in text
    start = text.index('id="ppl-vae-view-item">') + len('id="ppl-vae-view-item">')
    item = json.loads(text[start : text.index("</script>", start)])
    written = json.dumps(item)
    assert "on the frontier" in written
    assert '["yes", "yes", "no", "yes"]' in written
    assert "means and one standard deviation over 2 seeds" in text
    # Of 1.0 and 1.2: their mean and the standard deviation with one degree of freedom.
    assert "rate (nats): 1.1 \\u00b1 0.14" in written


def test_recipes_under_two_likelihoods_have_no_plane(table, tmp_path):
    from ppl_vae.cli.comparison_report import write_recipes

    other = table.assign(likelihood=("recipe", ["bernoulli", "gaussian", "bernoulli", "bernoulli"]))
    text = write_recipes(other, tmp_path).read_text()
    assert "do not compare, so that there is no plane" in text
    assert "on the frontier" not in text


@pytest.mark.browser
def test_the_comparison_shows_hostile_names_as_text_in_a_browser(chromium, path):
    from tests.explore.pages import Page

    page = Page.__new__(Page)
    page.browser = chromium
    size = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(path.as_uri())
    from selenium.webdriver.support.ui import WebDriverWait

    ready = "return window.Bokeh?.documents?.length > 0 && view('table') !== null"
    WebDriverWait(chromium, 120).until(lambda _: page.js(ready))
    page.settle()
    cells = page.text("table")
    assert HOSTILE in cells
    assert SCRIPT in cells
    assert "5.100 ± 0.14" in cells
