"""An opened page with a view, as a reader meets it."""

import json
import time

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

KEYS = {
    "right": Keys.ARROW_RIGHT,
    "left": Keys.ARROW_LEFT,
    "end": Keys.END,
    "escape": Keys.ESCAPE,
    "enter": Keys.ENTER,
}
# By name in the document of the view, once it is there; what is drawn is under shadow roots, which its views know.
FIND = """
const documents = window.Bokeh?.documents ?? []
const named = (name) => documents.map((d) => d.get_model_by_name(name)).find((m) => m !== null)
const view = (name) => Bokeh.index.find_one(named(name))
"""


class Page:
    """A page in a browser."""

    def __init__(self, browser, path, width=1280, height=1400, dark=False):
        self.browser = browser
        value = "dark" if dark else "light"
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": value}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        browser.get_log("browser"), browser.get_log("performance")
        browser.get(path.as_uri())
        WebDriverWait(browser, 60).until(lambda _: self.js("return named('rows')?.data.index?.length > 0"))
        self.settle()

    def js(self, code, *arguments):
        return self.browser.execute_script(FIND + code, *arguments)

    def settle(self):
        """Wait until two frames have been drawn."""
        self.browser.execute_async_script(
            "const [d] = arguments; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(d, 50)))"
        )

    def text(self, name):
        """The words of a part, as they are seen."""
        return self.js("return view(arguments[0]).shadow_el.textContent", name)

    def focused(self):
        """The datum that the card shows."""
        return int(self.js("return view('card').shadow_el.querySelector('.datum').dataset.index"))

    def rows(self):
        """The data of the table, in its order."""
        return self.js("return Array.from(view('table').data.index, (k) => named('rows').data.index[k])")

    def selected(self):
        return self.js("return Array.from(named('points').selected.indices)")

    def place(self, x, y):
        """Where a point of the map is in the window, in pixels."""
        self.js("view('map').el.scrollIntoView({block: 'center'})")
        self.settle()
        return self.js(
            """const plot = view('map')
            const box = plot.canvas_view.el.getBoundingClientRect()
            const {x_scale, y_scale} = plot.frame
            return [box.left + x_scale.compute(arguments[0]), box.top + y_scale.compute(arguments[1])]
            """,
            x,
            y,
        )

    def mouse(self, *events):
        """Send events of the mouse, each a kind and a place in the window."""
        for kind, (x, y) in events:
            button = "none" if kind == "mouseMoved" else "left"
            about = {"type": kind, "x": x, "y": y, "button": button, "clickCount": 1}
            self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", about)
        self.settle()

    def drag(self, places):
        """Draw a line with the button held down."""
        first, *rest = places
        held = [{"type": "mouseMoved", "x": x, "y": y, "button": "left", "buttons": 1} for x, y in rest]
        start = {
            "type": "mousePressed",
            "x": first[0],
            "y": first[1],
            "button": "left",
            "buttons": 1,
            "clickCount": 1,
        }
        for event in (start, *held, {**held[-1], "type": "mouseReleased", "buttons": 0, "clickCount": 1}):
            self.browser.execute_cdp_cmd("Input.dispatchMouseEvent", event)
        self.settle()

    def focus(self, name):
        self.js("view(arguments[0]).el.focus()", name)

    def press(self, *keys):
        for key in keys:
            ActionChains(self.browser).send_keys(KEYS[key]).perform()
        self.settle()

    def click(self, name):
        self.js("view(arguments[0]).shadow_el.querySelector('button').click()", name)
        self.settle()

    def complaints(self):
        """What the console says that is no plain information."""
        return [line for line in self.browser.get_log("browser") if line["level"] == "SEVERE"]

    def requests(self):
        """The addresses that were asked for, but for the page itself and what it holds."""
        events = [json.loads(line["message"])["message"] for line in self.browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in asked if not url.startswith(("data:", "blob:", "file:"))]

    def downloaded(self, name, seconds=20):
        path, end = self.browser.downloads / name, time.monotonic() + seconds
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.1)
        return path.read_text()

    def picture(self, path):
        """A screenshot of the whole page."""
        path.write_bytes(self.browser.get_screenshot_as_png())
