"""Sites under the names of ArviZ's dimensions: what needs no ArviZ is told of them as of any other."""

import pyro
import pytest
import torch
from pyro import distributions as dist

import ppl_vae as pv
from ppl_vae.diagnostics import QUICK


@pytest.mark.slow
@pytest.mark.parametrize("name", ["draw", "datum"])
def test_a_report_is_written_of_a_site_that_arviz_cannot_name(name, tmp_path):
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample(name, dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample(name, dist.Normal(0.4 * x, 0.8).to_event(1))

    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    diagnosis = pv.diagnose((model, guide), x, topics=["importance"], effort=QUICK, progress=False)
    assert diagnosis.inference_data is None
    assert f"site '{name}'" in diagnosis.why_no_inference_data
    diagnosis.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Pareto k-hat" in page
