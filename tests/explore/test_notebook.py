"""The view in a notebook, through a real kernel: what the front end says arrives, and decoded points come back."""

import numpy as np
import pytest

pytest.importorskip("anywidget")
pytest.importorskip("ipykernel")

CODE = """
import torch
import ppl_vae as pv
weight, bias = torch.tensor([[1., 0.], [0., 2.], [1., 1.]]), torch.tensor([0., 0., 5.])
pair = pv.LinearGaussianVAE(weight, bias, 0.5, guide="exact")
x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
diagnosis = pv.diagnose(pair, x, topics=["importance"], progress=False)
view = pv.explore(diagnosis)
view
"""


@pytest.fixture(scope="module")
def client():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel()
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code):
    """The messages that a cell's run sends."""
    found = []
    answer = client.execute_interactive(code, output_hook=found.append, timeout=200, stop_on_error=False)
    assert answer["content"]["status"] == "ok", answer["content"]
    return found


def say(client, comm, data):
    """Send what a front end sends, and collect what the kernel answers until it is idle again."""
    message = client.session.msg("comm_msg", {"comm_id": comm, "data": data})
    client.shell_channel.send(message)
    found = []
    while True:
        each = client.get_iopub_msg(timeout=60)
        if each["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        if each["msg_type"] == "status" and each["content"]["execution_state"] == "idle":
            return found
        found.append(each)


@pytest.mark.slow
def test_selection_and_decoding_go_through_the_kernel(client):
    messages = run(client, CODE)
    shown = [m["content"]["data"] for m in messages if m["msg_type"] in ("display_data", "execute_result")]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
    comm = next(
        m["content"]["comm_id"]
        for m in messages
        if m["msg_type"] == "comm_open" and "indices" in m["content"]["data"].get("state", {})
    )
    say(client, comm, {"method": "update", "state": {"indices": [3, 4, 41]}, "buffer_paths": []})
    told = run(
        client,
        "print(view.selected.tolist(), view.selected_rows.tolist() == diagnosis.chosen[[3, 4, 41]].tolist())",
    )
    assert [m["content"]["text"].strip() for m in told if m["msg_type"] == "stream"] == ["[3, 4, 41] True"]
    content = {"kind": "decode", "x": 0.25, "y": -1.5}
    answers = say(client, comm, {"method": "custom", "content": content})
    (decoded,) = [m for m in answers if m["content"].get("data", {}).get("content") == {"kind": "decoded"}]
    values = np.frombuffer(decoded["buffers"][0], "<f4")
    # E[x|z] = W z + b at z = (0.25, -1.5).
    np.testing.assert_allclose(values, [0.25, -3.0, 3.75], rtol=1e-6)
    # What the kernel sets, the front end is told.
    messages = run(client, "view.indices = [7]")
    states = [m["content"]["data"]["state"] for m in messages if m["msg_type"] == "comm_msg"]
    assert {"indices": [7]} in states
