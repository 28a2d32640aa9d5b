"""MS-SSIM against the formula written out with scipy, and as a reconstruction error that is in no bound."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

import ppl_vae as pv
from ppl_vae import inference as inf
from ppl_vae.errors import ModelError
from ppl_vae.inference.objectives.structural_similarity import WEIGHTS, ms_ssim, window_and_scales

pytestmark = pytest.mark.usefixtures("one_thread")


def written_out(a, b, window, scales):
    """One channel, in double precision."""
    at = np.arange(window) - (window - 1) / 2
    line = np.exp(-0.5 * (at / 1.5) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    blur = lambda image: convolve2d(image, kernel, mode="valid")  # noqa: E731
    found, weights = 1.0, np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales])
    for scale in range(scales):
        m_a, m_b = blur(a), blur(b)
        s_a, s_b, s_ab = blur(a * a) - m_a**2, blur(b * b) - m_b**2, blur(a * b) - m_a * m_b
        contrast = (2 * s_ab + 9e-4) / (s_a + s_b + 9e-4)
        luminance = (2 * m_a * m_b + 1e-4) / (m_a**2 + m_b**2 + 1e-4)
        value = (contrast * luminance if scale == scales - 1 else contrast).mean()
        found *= value ** weights[scale]
        height, width = a.shape[0] // 2, a.shape[1] // 2
        a, b = (i[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)) for i in (a, b))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "window", "scales"), [(8, 7, 1), (28, 11, 2), (64, 11, 3), (176, 11, 5), (5, 5, 1)]
)
def test_it_is_the_papers_formula(side, window, scales):
    assert window_and_scales(side, side + 1) == (window, scales)
    g = torch.Generator().manual_seed(side)
    x = torch.rand(2, 3, side, side + 1, generator=g, dtype=torch.float64)
    y = (x + 0.1 * torch.rand(x.shape, generator=g, dtype=torch.float64)).clamp(0, 1)
    found = ms_ssim(x, y)
    for n in range(2):
        wanted = np.mean([written_out(x[n, c].numpy(), y[n, c].numpy(), window, scales) for c in range(3)])
        assert found[n].item() == pytest.approx(wanted, rel=1e-9)
    torch.testing.assert_close(ms_ssim(x, x), torch.ones(2, dtype=torch.float64))


def test_flat_and_opposite_images_have_finite_gradients_in_single_precision():
    x = torch.stack([torch.zeros(1, 8, 8), torch.ones(1, 8, 8), torch.rand(1, 8, 8).round()])
    y = (1 - x).requires_grad_()
    ms_ssim(x, y).sum().backward()
    assert y.grad.isfinite().all()


def test_as_an_error_it_is_part_of_a_loss_and_of_no_bound():
    vae = pv.VAE((1, 8, 8), 3)
    x = torch.rand(4, 1, 8, 8).round()
    objective = inf.ReconstructionError("analytic-kl", factor=50.0, error="ms-ssim")
    torch.manual_seed(0)
    terms = objective.run(vae.model, vae.guide, x)
    (observed,) = terms.observations.values()
    wanted = 50 * (1 - ms_ssim(observed.p.mean.reshape(4, 1, 8, 8), x)).mean() + terms.kl().mean()
    assert objective.forward(terms).item() == pytest.approx(wanted.item(), rel=1e-6)
    assert isinstance(objective.estimator, inf.AnalyticKL)
    with pytest.raises(ModelError, match="only the mean squared error corresponds to a beta"):
        objective.beta(64)


def test_what_is_no_image_is_refused():
    vae = pv.VAE((6,), 2)
    with pytest.raises(ModelError, match=r"ms-ssim compares images of event shape \(C, H, W\), got \(6,\)"):
        inf.ReconstructionError("analytic-kl", 1.0, "ms-ssim")(vae.model, vae.guide)(torch.ones(3, 6))
    with pytest.raises(ModelError, match="error must be 'mse', 'rmse' or 'ms-ssim', got 'ssim'"):
        inf.ReconstructionError("analytic-kl", 1.0, "ssim")
