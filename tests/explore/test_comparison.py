"""The pages that compare: numbers, frontier and hostile names."""

import csv
import io
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


def test_names_at_nearly_one_place_stand_below_each_other():
    from ppl_vae.explore.comparison import _taken_lines

    points = np.array([[0.0, 10.0], [0.01, 10.1], [5.0, 10.0], [0.02, 20.0], [0.0, 10.2]])
    right = np.array([False, False, True, False, False])
    assert _taken_lines(points, right).tolist() == [0, 1, 0, 0, 2]
    assert _taken_lines(np.zeros((2, 2)), right[:2]).tolist() == [0, 1]


@pytest.fixture
def page(chromium, path):
    from selenium.webdriver.support.ui import WebDriverWait

    from tests.explore.pages import Page

    page = Page.__new__(Page)
    page.browser = chromium
    size = {"width": 1280, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    chromium.get_log("browser"), chromium.get_log("performance")
    chromium.get(path.as_uri())
    ready = "return window.Bokeh?.documents?.length > 0 && view('table') !== null"
    WebDriverWait(chromium, 120).until(lambda _: page.js(ready))
    page.settle()
    return page


def shown(page):
    """The names in the table, in its order."""
    return page.js("return Array.from(view('table').data.index, (k) => named('compared').data.name[k])")


@pytest.mark.browser
def test_the_comparison_shows_hostile_names_as_text_in_a_browser(page):
    cells = page.text("table")
    assert HOSTILE in cells
    assert SCRIPT in cells
    assert "5.100 ± 0.14" in cells
    assert page.complaints() == []
    assert page.requests() == []
    assert "attacked" not in page.browser.title.replace(HOSTILE, "")


@pytest.mark.browser
def test_the_pointer_tells_name_and_both_numbers(page):
    place = page.js(
        """const plot = view('chart 1'), {x_scale, y_scale} = plot.frame
        const box = plot.canvas_view.el.getBoundingClientRect()
        return [box.left + x_scale.compute(4.2), box.top + y_scale.compute(30.1)]"""
    )
    seen = """const own = (e) => (["SCRIPT", "HEAD", "STYLE"].includes(e.tagName) ? "" : e.innerText ?? "")
        const inside = (e) => own(e) + [...(e.shadowRoot?.querySelectorAll("*") ?? [])].map(inside).join(" ")
        return [...document.querySelectorAll("body, body *")].map(inside).join(" ")"""
    assert "rate (nats): " not in page.js(seen)
    page.mouse(("mouseMoved", place))
    words = page.js(seen)
    for told in (HOSTILE, "rate (nats): 4.2 ± 0.28", "distortion (nats): 30.1 ± 0.14"):
        assert told in words
    assert page.complaints() == []


@pytest.mark.browser
def test_a_heading_sorts_and_a_row_is_marked_in_the_chart(page):
    heading = ";[...view('table').shadow_el.querySelectorAll('.slick-header-column')][3].click()"
    # distortion: 41, 30.1, 35.2, 20.4
    rising = ["beta-vae:beta=4", HOSTILE, SCRIPT, "vae"]
    page.js(heading)
    first = shown(page)
    page.js(heading)
    assert sorted([first, shown(page)]) == sorted([rising, rising[::-1]])
    page.js("view('table').shadow_el.querySelector('.slick-row .slick-cell').click()")
    page.settle()
    assert page.js("const s = named('compared'); return s.selected.indices.map((k) => s.data.name[k])") == [
        shown(page)[0]
    ]


@pytest.mark.browser
@pytest.mark.parametrize("row", [0, 1])
def test_a_marked_row_is_readable_shaded_or_not(page, row):
    rows = "view('table').shadow_el.querySelectorAll('.slick-row')"
    page.js(f"{rows}[arguments[0]].querySelector('div').click()", row)
    page.settle()
    look = "getComputedStyle(view('table').shadow_el.querySelector('.slick-cell.selected'))"
    assert page.js(f"return [{look}.color, {look}.backgroundColor]") == ["rgb(255, 255, 255)", "rgb(0, 114, 178)"]


@pytest.mark.browser
def test_the_frontier_is_seen_in_the_chart_and_the_numbers_are_downloaded(page):
    shades = page.js("return named('compared').data.shade_c2")
    assert [shade == shades[0] for shade in shades] == [True, True, False, True]
    page.click("csv")
    rows = list(csv.reader(io.StringIO(page.downloaded("compared.csv"))))
    assert rows[0][:4] == ["recipe", "on the frontier", "rate (nats)", "rate error"]
    assert [row[0] for row in rows[1:]] == ["vae", HOSTILE, SCRIPT, "beta-vae:beta=4"]
    assert [row[1] for row in rows[1:]] == ["yes", "yes", "no", "yes"]
    np.testing.assert_allclose([float(row[2]) for row in rows[1:]], [1.1, 4.2, 5.1, 9.1])
    page.click("svg")
    assert page.downloaded("chart-1.svg").lstrip().startswith("<svg")


@pytest.mark.browser
def test_on_paper_the_numbers_stand_in_a_plain_table(page):
    shown_as = "return getComputedStyle(document.querySelector('table.paper')).display"
    assert page.js(shown_as) == "none"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.js(shown_as) == "table"
    cells = page.js("return [...document.querySelectorAll('table.paper td')].map((cell) => cell.textContent)")
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert cells[:3] == ["vae", "yes", "1.1 ± 0.14"]
    assert HOSTILE in cells
