"""The page in a real browser: pointer, lasso, table, keys, dark, a phone; nothing fetched, nothing executed."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from tests.explore.scenes import COUNT, FORMULA, HOSTILE, NAMES, SCRIPT, TEMPLATE, a_scene, a_table_scene

pytest.importorskip("bokeh")
pytestmark = pytest.mark.browser


def written(scene, folder):
    """The scene as a page of its own."""
    from ppl_vae.explore.page import embed
    from ppl_vae.explore.preview import preview
    from ppl_vae.explore.view import explorable

    made = embed(explorable(scene, NAMES), f"map {HOSTILE}", preview(scene))
    file = folder / "view.html"
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    )
    file.write_text(f"{head}<title>view</title><body>{made.place}{made.data}</body></html>")
    return file


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return written(a_scene(), tmp_path_factory.mktemp("page"))


@pytest.fixture
def page(chromium, path):
    from tests.explore.pages import Page

    return Page(chromium, path)


@pytest.fixture(scope="module")
def scene():
    return a_scene()


def test_the_page_opens_without_a_complaint_and_fetches_nothing(page):
    assert page.complaints() == []
    assert page.requests() == []
    assert len(page.rows()) == COUNT


def test_a_still_map_stands_where_no_code_runs_and_gives_way_to_the_view(page, path):
    still = "document.querySelectorAll('#ppl-vae-view > img').length"
    assert page.js(f"return {still}") == 1
    hidden = "return getComputedStyle(document.querySelector('#ppl-vae-view > img')).display"
    assert page.js(hidden) == "none"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert page.js(hidden) == "inline"
    drawn = "return getComputedStyle(document.querySelector('#ppl-vae-view > :not(img)')).display"
    assert page.js(drawn) == "none"
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert path.read_text().count('<img src="data:image/png;base64,') == 1
    page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.browser.get(path.as_uri())
        place = page.browser.find_element("css selector", "#ppl-vae-view > img")
        assert place.is_displayed()
        assert place.size["width"] > 300
    finally:
        page.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_the_table_begins_with_the_largest_and_ends_with_the_unknown(page, scene):
    order = page.rows()
    khat = np.asarray(scene.columns[1].values, float)
    assert order[:2] == [7, COUNT - 1]
    assert order[-1] == 8
    assert np.isnan(khat[order[-1]])
    assert "7" in page.text("card")


def test_the_pointer_shows_the_datum_with_its_pictures_and_ellipse(page, scene):
    for k in (40, 100):
        page.mouse(("mouseMoved", page.place(*scene.points[k])))
        assert page.focused() == k
        assert page.js("return named('ring').data.words") == [f"{NAMES[k]}\nclass: {k % 3}"]
        card = page.text("numbers")
        assert f"\N{MINUS SIGN}{50 + k} ± 0.25" in card
        assert f"{k / 100:g}" in card
        # The sheet's tile of the datum has the grey level 2 k, as a reader's screen shows it.
        assert page.js(GREY, 0) == [2 * k] * 3
        assert page.js(GREY, 1) == [255 - 2 * k] * 3
        ellipse = page.js("const d = named('ellipses').data; return [d.x[0], d.y[0], d.width[0], d.height[0]]")
        np.testing.assert_allclose(ellipse, [*scene.points[k], 4 * 0.2, 4 * 0.1], rtol=1e-5)
    assert page.js("return named('guide_draws').data.x.length") == 20


# The middle of a tile, drawn as the card draws it.
GREY = """
const tile = view('card').shadow_el.querySelectorAll('.tile')[arguments[0]]
const style = tile.style, image = new Image()
image.src = style.backgroundImage.slice(5, -2)
const [left, top] = style.backgroundPosition.split(' ').map(parseFloat), size = parseFloat(style.width)
const across = parseFloat(style.backgroundSize) / size
const canvas = document.createElement('canvas'); canvas.width = canvas.height = 1
return image.decode().then(() => {
  const real = image.width / across
  canvas.getContext('2d').drawImage(image, (-left / size + .5) * real, (-top / size + .5) * real, 1, 1, 0, 0, 1, 1)
  return Array.from(canvas.getContext('2d').getImageData(0, 0, 1, 1).data.slice(0, 3))
})
"""


def test_a_datum_with_reference_draws_shows_them_and_says_so(page, scene):
    page.mouse(("mouseMoved", page.place(*scene.points[0])))
    page.js("named('points').selected.indices = [0]")
    page.settle()
    assert page.js("return named('reference_draws').data.x.length") == 4
    assert f"reference draws by HMC {HOSTILE}" in page.text("card")
    # Covariance of the four draws: diag(2/3, 1/6).
    width, height = page.js("const d = named('ellipses').data; return [d.width[1], d.height[1]]")
    np.testing.assert_allclose([width, height], [4 * np.sqrt(2 / 3), 4 * np.sqrt(1 / 6)], rtol=1e-5)
    page.js("named('points').selected.indices = [5]")
    page.settle()
    assert page.js("return named('reference_draws').data.x.length") == 0
    assert "no reference draws" in page.text("card")


def test_a_lasso_selects_and_the_table_follows(page, scene):
    x, y = page.place(0, 0)
    right = page.place(1.0, 0)[0] - x
    around = [(x + right * np.cos(a), y + right * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24)]
    page.drag(around)
    inside = np.flatnonzero(np.hypot(*scene.points.T) < 0.97)
    outside = np.flatnonzero(np.hypot(*scene.points.T) > 1.03)
    chosen = set(page.selected())
    assert set(inside) <= chosen
    assert not set(outside) & chosen
    assert set(page.rows()) == chosen
    assert f"{len(chosen)} of {len(chosen)} selected data" in page.text("caption")
    page.click("clear")
    assert page.selected() == []
    assert len(page.rows()) == COUNT


def test_classes_stand_by_their_median_and_a_click_selects_one(page, scene):
    k = np.arange(COUNT)
    khat = np.asarray(scene.columns[1].values, float)
    lines = page.js(
        """const lines = [...view('legend').shadow_el.querySelectorAll('tbody tr')]
        return lines.map((line) => [...line.cells].map((cell) => cell.innerText))"""
    )
    medians = {str(c): float(np.nanmedian(khat[k % 3 == c])) for c in range(3)}
    assert [line[0] for line in lines] == sorted(medians, key=lambda c: -medians[c])
    for name, size, median, bad, _ in lines:
        members = khat[k % 3 == int(name)]
        assert [int(size), int(bad)] == [len(members), int((members > 0.7).sum())]
        np.testing.assert_allclose(float(median), medians[name], atol=5e-3)
    # Datum 7, of class 1, has an infinite one.
    assert [line[4] for line in lines if line[0] == "1"] == ["∞"]
    page.js(";view('legend').shadow_el.querySelector('tbody tr td').click()")
    page.settle()
    worst = int(lines[0][0])
    assert sorted(page.selected()) == list(k[k % 3 == worst])
    assert page.focused() == page.rows()[0]


def test_the_strip_shows_the_first_of_the_table_and_a_click_shows_one(page):
    strip = "return [...view('strip').shadow_el.querySelectorAll('button')].map((b) => Number(b.dataset.index))"
    assert page.js(strip) == page.rows()[:16]
    page.js(";[...view('table').shadow_el.querySelectorAll('.slick-header-column')][3].click()")
    page.settle()
    assert page.js(strip) == page.rows()[:16]
    page.js("view('strip').shadow_el.querySelectorAll('button')[2].click()")
    page.settle()
    assert page.focused() == page.rows()[2]


def test_what_is_asked_for_last_sorts_the_table(page):
    """A heading that was clicked sorts no more once another order is chosen."""
    page.js(";[...view('table').shadow_el.querySelectorAll('.slick-header-column')][3].click()")
    page.settle()
    page.js("named('sort_by').value = 'class'")
    page.settle()
    order = page.rows()
    assert [k % 3 for k in order] == sorted((k % 3 for k in range(COUNT)), reverse=True)
    # What is drawn is what is said to be there.
    first = "return view('table').shadow_el.querySelector('.slick-row .slick-cell').textContent"
    assert page.js(first) == NAMES[order[0]]


def test_the_close_up_shows_the_draws_of_the_datum_in_focus(page, scene):
    page.js("named('points').selected.indices = [0]")
    page.settle()
    page.js("return new Promise((done) => setTimeout(done, 400))")
    drawn, reference = (
        page.js("const d = named(arguments[0]).data; return [Array.from(d.x), Array.from(d.y)]", name)
        for name in ("close_guide", "close_reference")
    )
    np.testing.assert_allclose(np.transpose(drawn), scene.posterior.guide[0], rtol=1e-6)
    np.testing.assert_allclose(np.transpose(reference), scene.posterior.reference[0], rtol=1e-6)
    # Its axes fit the draws and not the map.
    low, high = page.js("const r = named('closeup').x_range; return [r.start, r.end]")
    assert -1.5 < low < -0.9
    assert 0.9 < high < 1.5
    assert SCRIPT in page.js("return named('closeup').title.text")


def test_the_map_stays_where_it_is_for_draws_that_lie_outside(chromium, tmp_path, scene):
    from tests.explore.pages import Page

    far = replace(scene.posterior, guide=scene.posterior.guide + 30)
    page = Page(chromium, written(replace(scene, posterior=far), tmp_path))
    ends = "const m = named('map'); return [m.x_range.start, m.x_range.end, m.y_range.start, m.y_range.end]"
    before = page.js(ends)
    for k in (20, 90):
        page.mouse(("mouseMoved", page.place(*scene.points[k])))
        assert page.focused() == k
    assert page.js("return named('guide_draws').data.x[0]") > 20
    assert page.js(ends) == before
    # Nothing is painted over the tools at the map's right, where an ellipse reaches.
    page.js(
        """const {x_scale, bbox} = view('map').frame, at = x_scale.invert(bbox.right - 30)
        const wide = 2 * (x_scale.invert(bbox.right + 12) - at)
        named('ellipses').data = {x: [at], y: [0], width: [wide], height: [2], angle: [0], colour: ["red"]}"""
    )
    page.settle()
    painted = """const plot = view('map'), {ctx} = plot.canvas_view.overlays, left = plot.frame.bbox.right + 1
        const {data} = ctx.getImageData(left, 0, ctx.canvas.width - left, ctx.canvas.height)
        return data.some((value) => value !== 0)"""
    assert not page.js(painted)


def test_a_click_on_a_heading_sorts(page, scene):
    heading = (
        """return [...view('table').shadow_el.querySelectorAll('.slick-header-column')][arguments[0]].click()"""
    )
    page.js(heading, 3)
    page.settle()
    first = page.rows()
    page.js(heading, 3)
    page.settle()
    second = page.rows()
    values = np.asarray(scene.columns[2].values)
    rising = [list(values[order]) == sorted(values) for order in (first, second)]
    falling = [list(values[order]) == sorted(values, reverse=True) for order in (first, second)]
    assert sorted(rising) == sorted(falling) == [False, True]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("k-hat > 0.7", lambda k: k > 70 or k == 7),
        ("k-hat <= 0.03 and class = 2", lambda k: k == 2),
        ("log p(x) >= -52.5", lambda k: k <= 2),
        ("k-hat > 2 and k-hat < 3", lambda k: False),
    ],
)
def test_a_condition_filters(page, words, kept):
    page.js("named('filter').value_input = arguments[0]", words)
    page.settle()
    assert sorted(page.rows()) == [k for k in range(COUNT) if k != 8 and kept(k)]


def test_a_condition_on_no_column_says_so_and_hides_nothing(page):
    page.js("named('filter').value_input = 'kat > 2'")
    page.settle()
    assert "No column has that name" in page.text("caption")
    assert len(page.rows()) == COUNT


def test_a_verdict_shows_its_data(page):
    page.js("view('group 0').shadow_el.querySelector('button').click()")
    page.settle()
    assert page.selected() == [90, 91, 92, 93, 94]
    assert page.rows() == [94, 93, 92, 91, 90]
    assert page.focused() == 94
    assert "five data" in page.text("group_words")


def test_the_keyboard_steps_selects_and_clears(page):
    page.focus("map")
    page.press("right", "right")
    order = page.rows()
    assert page.focused() == order[2]
    page.press("left", "enter")
    assert page.selected() == [order[1]]
    page.press("escape")
    assert page.selected() == []
    page.focus("table")
    page.press("end")
    assert page.focused() == order[-1]


def test_every_control_is_reached_by_tab(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page.js("document.activeElement?.blur()")
    reached = []
    for _ in range(40):
        ActionChains(page.browser).send_keys(Keys.TAB).perform()
        reached.append(
            page.js(
                """let e = document.activeElement
                while (e?.shadowRoot?.activeElement) e = e.shadowRoot.activeElement
                const own = e?.getAttribute('aria-label') ?? e?.textContent ?? ''
                return (own + '|' + (e?.closest('label, .bk-input-group')?.textContent ?? '')).trim()"""
            )
        )
    words = "\n".join(reached)
    for control in (
        "Verdict",
        "Colour by",
        "Sort by",
        "Filter",
        "Show all",
        "CSV",
        "SVG",
        "Map of the data",
        "Table of the",
    ):
        assert control in words, words


def test_the_pointer_decodes_by_interpolation(page):
    for x in (-2.5, 0.0, 1.3, 2.0):
        page.mouse(("mouseMoved", page.place(x, 0.3)))
        shown = page.js("return named('decoded').data.image[0][0] & 255")
        assert abs(shown - (x + 5) / 10 * 200) <= 2, x


def test_colours_follow_the_choice(page, scene):
    hues = "return Array.from(named('points').data.colour)"
    classes = page.js(hues)
    assert [classes.index(classes[k]) for k in range(6)] == [0, 1, 2, 0, 1, 2]
    page.js("named('colour_by').value = 'k-hat'")
    page.settle()
    scale = page.js(hues)
    assert scale[8] == "#9e9e9e"
    assert scale[7] == scale[COUNT - 1]
    assert len(set(scale)) > 60
    assert page.js("return view('map').model.right.some((r) => r.type === 'ColorBar' && r.visible)")


def test_numbers_come_out_as_csv_and_the_map_as_svg(page, scene):
    page.js("named('filter').value_input = 'k-hat > 1.1'")
    page.settle()
    page.click("csv")
    rows = list(csv.reader(io.StringIO(page.downloaded("selected-data.csv"))))
    assert rows[0][:5] == ["datum", "class", "k-hat", "log p(x) (nats)", "log p(x) stderr"]
    assert rows[0][5] == HOSTILE
    assert [row[0] for row in rows[1:]] == [NAMES[k] for k in page.rows()]
    numbers = np.array([[float(cell) for cell in row[1:5]] for row in rows[1:]])
    np.testing.assert_allclose(numbers[1, 1:], [1.19, -169.0, 0.25], rtol=1e-6)
    page.click("svg")
    drawing = page.downloaded("latent-map.svg")
    assert drawing.lstrip().startswith("<svg")
    assert drawing.count("<path") > COUNT


def test_hostile_names_are_text(page):
    for k in (11, 12):
        page.js("named('points').selected.indices = [arguments[0]]", k)
        page.settle()
        assert SCRIPT in page.text("card")
    page.js("named('colour_by').value = arguments[0]", FORMULA)
    page.js("named('points').selected.indices = []")
    page.settle()
    assert SCRIPT in page.text("legend")
    assert HOSTILE in page.text("table")
    assert f"{TEMPLATE}7" in page.text("table")
    assert HOSTILE in page.text("card")
    assert SCRIPT in page.text("notes")
    page.mouse(("mouseMoved", page.place(0, 0)))
    assert page.browser.title == "view"
    images = """return [...document.querySelectorAll('*')].filter((e) => e.id !== 'ppl-vae-view')
        .flatMap((e) => [...(e.shadowRoot?.querySelectorAll('img') ?? [])]).length"""
    assert page.js(images) == 0
    assert page.complaints() == []
    assert page.requests() == []


def test_dark_is_dark(chromium, path):
    from tests.explore.pages import Page

    page = Page(chromium, path, dark=True)
    assert page.js("return named('map').background_fill_color") == "#14181d"
    ink = page.js("return getComputedStyle(view('card').shadow_el.querySelector('h3')).color")
    assert ink == "rgb(230, 237, 243)"
    cell = page.js("return getComputedStyle(view('table').shadow_el.querySelector('.slick-cell')).backgroundColor")
    assert cell in ("rgb(20, 24, 29)", "rgb(28, 33, 40)")


def test_a_phone_needs_no_scrolling_sideways(chromium, path):
    from tests.explore.pages import Page

    page = Page(chromium, path, width=390, height=844)
    assert page.js("return document.documentElement.scrollWidth") <= 390
    map_, card = (
        page.js("return view(arguments[0]).el.getBoundingClientRect().toJSON()", n) for n in ("map", "card")
    )
    assert map_["width"] > 300
    assert card["top"] > map_["bottom"] - 5


@pytest.mark.parametrize("width", [390, 1280])
def test_a_wide_table_scrolls_in_its_own_place(chromium, tmp_path, width):
    from tests.explore.pages import Page

    page = Page(chromium, written(a_table_scene(), tmp_path), width=width)
    assert page.js("return document.documentElement.scrollWidth") <= width
    inside, all_of_it = page.js(
        "const e = view('card').shadow_el.querySelector('.scroll'); return [e.clientWidth, e.scrollWidth]"
    )
    assert inside < all_of_it


# What a notebook's front end offers to the module of a widget.
FRONT_END = """
const done = arguments[arguments.length - 1]
const state = arguments[0], told = {}
const heard = {saved: [], sent: []}
window.heard = heard
window.model = {
  get: (name) => state[name], set: (name, value) => { state[name] = value },
  save_changes: () => heard.saved.push([...state.indices]),
  send: (content) => heard.sent.push(content),
  on: (name, action) => { told[name] = action },
  change: (name, value) => { state[name] = value; told[`change:${name}`]() },
  answer: (values) => told["msg:custom"]({kind: "decoded"}, [new DataView(Float32Array.from(values).buffer)]),
}
const el = document.createElement("div")
document.body.appendChild(el)
import(URL.createObjectURL(new Blob([arguments[1]], {type: "text/javascript"})))
  .then((module) => module.default.render({model: window.model, el}))
  .then(() => done("drawn"), (error) => done(String(error.stack)))
"""


def test_the_widget_draws_shares_the_selection_and_asks_the_kernel(chromium, tmp_path, scene):
    pytest.importorskip("anywidget")
    from ppl_vae.explore.notebook import View
    from ppl_vae.explore.view import explorable
    from tests.explore.pages import Page

    widget = View(explorable(scene, NAMES), np.arange(COUNT), lambda places: places)
    state = {"item": widget.item, "bokehjs": widget.bokehjs, "version": widget.version, "indices": [2, 3]}
    (tmp_path / "cell.html").write_text('<!doctype html><meta charset="utf-8"><title>view</title><body></body>')
    chromium.get((tmp_path / "cell.html").as_uri())
    assert chromium.execute_async_script(FRONT_END, state, View._esm) == "drawn"
    page = Page.__new__(Page)
    page.browser = chromium
    page.settle()
    assert page.selected() == [2, 3]
    page.js("named('points').selected.indices = [9, 10]")
    assert page.js("return heard.saved") == [[9, 10]]
    page.js("model.change('indices', [1])")
    page.settle()
    assert page.selected() == [1]
    page.mouse(("mouseMoved", page.place(1.0, 0.5)))
    asked = page.js("return heard.sent")
    assert [each["kind"] for each in asked] == ["decode"]
    np.testing.assert_allclose([asked[0]["x"], asked[0]["y"]], [1.0, 0.5], atol=0.05)
    # While the kernel is busy nothing more is asked; then the newest place is.
    for x in (0.8, 0.6):
        page.mouse(("mouseMoved", page.place(x, 0.5)))
    assert len(page.js("return heard.sent")) == 1
    page.js("model.answer(Array(64).fill(77))")
    page.settle()
    assert page.js("return named('decoded').data.image[0][5] & 255") == 77
    np.testing.assert_allclose(page.js("return heard.sent[1].x"), 0.6, atol=0.05)
    assert page.complaints() == []
