"""How fast the explorable report of 10,000 data opens and answers the pointer, in a headless chromium.

    PPL_VAE_DATA=FOLDER OMP_NUM_THREADS=1 python benchmarks/explorable_page.py

Needs Debian's chromium and chromium-driver, and MNIST. The page is a report on all test images under a VAE of one
epoch; the time of making it is held against that of the diagnosis, all topics. Its first view (the map drawn, two
frames later) is timed beside the load of a plain page of as many bytes, in turns, both from the start of the
navigation by its own clock. Hovering is timed by the trace of the browser: the main thread's tasks that hold a move
of the mouse across the map. A frame at 60 a second is 16.7 ms.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import websocket
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

import ppl_vae as pv
from ppl_vae.diagnostics import Effort
from ppl_vae.diagnostics.report.explorable import Wishes
from ppl_vae.diagnostics.report.html import Subject, write_report

RECORD = Path(__file__).parent / "results" / "explorable_page.json"
TURNS, MOVES = 7, 120
FRAME = 1000 / 60
# Runs before anything of the page: notes when the still map has been painted, and when the one that answers.
WATCH = """
new PerformanceObserver((list) => {
  const still = list.getEntries().find(({element}) => element?.matches("#ppl-vae-view > img"))
  if (still) window.first_view = still.startTime
}).observe({type: "largest-contentful-paint", buffered: true})
window.addEventListener("load", () => { window.loaded = performance.now() })
const drawn = () => {
  const place = window.Bokeh?.documents?.map((d) => d.get_model_by_name("rows")).find((m) => m)
  const map = place && Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("map"))
  if (!map) return requestAnimationFrame(drawn)
  requestAnimationFrame(() => requestAnimationFrame(() => { window.answers = performance.now() }))
}
requestAnimationFrame(drawn)
"""
PLACES = """
const model = Bokeh.documents[0].get_model_by_name("map"), view = Bokeh.index.find_one(model)
const {x, y, width, height} = view.el.getBoundingClientRect()
return [x + 80, y + 40, width - 160, height - 100]
"""


def write_pages(folder: Path) -> dict[str, float | int]:
    """Write the report and a plain page of its size; tell seconds and bytes."""
    mnist = pv.load_dataset("mnist", binarize="stochastic")
    vae = pv.VAE(mnist.event_shape, 10, network={"name": "mlp", "hidden": [200], "activation": "relu"})
    pv.fit(vae, mnist, epochs=1, progress=False)
    effort = Effort(num_data=len(mnist.test), num_samples=25)
    # CPU time, which others on the machine do not lengthen much.
    started = time.process_time()
    diagnosis = pv.diagnose(vae, mnist.test.x, y=mnist.test.y, effort=effort, progress=False)
    diagnosed = time.process_time()
    write_report(diagnosis, Subject("mnist", "vae", "mnist, test split"), folder / "explorable.html", Wishes())
    of_page, of_diagnosis = time.process_time() - diagnosed, diagnosed - started
    size = (folder / "explorable.html").stat().st_size
    head, tail = "<!doctype html><title>plain</title><p>plain</p><script type='text/plain'>", "</script>"
    filling = base64.b64encode(os.urandom(size)).decode()[: size - len(head) - len(tail)]
    (folder / "plain.html").write_text(head + filling + tail)
    return {
        "num_data": len(diagnosis.chosen),
        "bytes": size,
        "diagnosis_cpu_seconds": of_diagnosis,
        "write_cpu_seconds": of_page,
        "write_of_diagnosis": of_page / of_diagnosis,
    }


def start_browser() -> webdriver.Chrome:
    """Start chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("--headless=new", "--no-sandbox", "--enable-unsafe-swiftshader", "--window-size=1280,1400"):
        options.add_argument(argument)
    # The trace is asked for beside the driver.
    options.add_argument("--remote-allow-origins=*")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
    return browser


def milliseconds(browser: webdriver.Chrome, page: Path, mark: str) -> float:
    """Open a page and wait for its mark, which is in ms from the start of the navigation."""
    browser.get("about:blank")
    browser.get(page.as_uri())
    seen = f"return window.{mark} ?? null"
    return float(WebDriverWait(browser, 60).until(lambda _: browser.execute_script(seen)))


def traced(browser: webdriver.Chrome, work: Callable[[], None]) -> list[dict[str, Any]]:
    """The events of the browser's trace while work is done."""
    address = browser.capabilities["goog:chromeOptions"]["debuggerAddress"]
    with urllib.request.urlopen(f"http://{address}/json/version") as told:
        socket = websocket.create_connection(json.load(told)["webSocketDebuggerUrl"], timeout=120)
    wishes = {"categories": "devtools.timeline,toplevel,disabled-by-default-devtools.timeline"}
    socket.send(json.dumps({"id": 1, "method": "Tracing.start", "params": wishes}))
    while json.loads(socket.recv()).get("id") != 1:
        pass
    work()
    socket.send(json.dumps({"id": 2, "method": "Tracing.end"}))
    events: list[dict[str, Any]] = []
    while (message := json.loads(socket.recv())).get("method") != "Tracing.tracingComplete":
        events += message.get("params", {}).get("value", [])
    socket.close()
    return events


def hover(browser: webdriver.Chrome) -> list[float]:
    """Move over the map; the milliseconds of every task of the page's main thread that handles a move."""
    x, y, width, height = browser.execute_script(PLACES)

    def move() -> None:
        for k in range(MOVES):
            place = {"x": x + width * (k * 7 % MOVES) / MOVES, "y": y + height * k / MOVES}
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})
            time.sleep(0.03)

    return handled(traced(browser, move))


def handled(trace: list[dict[str, Any]]) -> list[float]:
    """Of a trace, the milliseconds of tasks that hold an event of the mouse's move."""
    moves = [e for e in trace if e.get("name") == "EventDispatch" and e["args"]["data"]["type"] == "mousemove"]
    tasks = [e for e in trace if e.get("name") == "RunTask" and "dur" in e]
    return [
        task["dur"] / 1000
        for task in tasks
        if any(task["tid"] == m["tid"] and task["ts"] <= m["ts"] <= task["ts"] + task["dur"] for m in moves)
    ]


def main() -> None:
    """Measure, print and write the record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record: dict[str, Any] = dict(write_pages(folder))
        browser = start_browser()
        times: dict[str, list[float]] = {"explorable": [], "plain": [], "answers": []}
        for _ in range(TURNS):
            times["plain"].append(milliseconds(browser, folder / "plain.html", "loaded"))
            times["explorable"].append(milliseconds(browser, folder / "explorable.html", "first_view"))
            times["answers"].append(milliseconds(browser, folder / "explorable.html", "answers"))
        moves = sorted(hover(browser))
        version = browser.capabilities["browserVersion"]
        browser.quit()
    medians = {name: statistics.median(values) for name, values in times.items()}
    record |= {
        "first_view_ms": medians["explorable"],
        "plain_load_ms": medians["plain"],
        "ratio": medians["explorable"] / medians["plain"],
        "answers_ms": medians["answers"],
        "hover_tasks": len(moves),
        "hover_median_ms": statistics.median(moves),
        "hover_95th_ms": moves[int(0.95 * (len(moves) - 1))],
        "within_a_frame": sum(each <= FRAME for each in moves) / len(moves),
        "turns": TURNS,
        "times_ms": times,
        "chromium": version,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps({key: value for key, value in record.items() if key != "times_ms"}, indent=1))


if __name__ == "__main__":
    main()
