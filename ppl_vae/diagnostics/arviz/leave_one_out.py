"""The warning that leave-one-out on draws of an amortised posterior means nothing, where ArviZ is asked for it.

``arviz.loo``, ``waic`` and what stands on them read the group log_likelihood, and take its columns for pointwise
densities of data that the draws were conditioned on one at a time less. Here log p(x_n | z_n) is conditional on a
latent that was inferred from x_n itself. The container warns when such a function reads the group, and only then.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Mapping
from types import FrameType
from typing import Any

import xarray as xr

GROUP = "log_likelihood"
LOO_NOTE = (
    "These are conditional on z, which is inferred from x itself: leave-one-out (loo), waic and loo_pit on them "
    "mean nothing. For a predictive score take ppl_vae.log_evidence on data held out."
)
PACKAGES = ("arviz", "arviz_stats", "arviz_plots")
FUNCTIONS = ("loo", "waic", "reloo", "plot_loo")


def warn_of_leave_one_out() -> None:
    """Warn where one of ArviZ's functions of leave-one-out is being run, at the user's line that called it."""
    found, depth, outermost = inspect.currentframe(), 0, 0
    while found is not None:
        if _is_leave_one_out(found):
            outermost = depth
        found, depth = found.f_back, depth + 1
    if outermost:
        warnings.warn(f"log_likelihood: {LOO_NOTE}", stacklevel=outermost + 2)


def _is_leave_one_out(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return package in PACKAGES and frame.f_code.co_name.startswith(FUNCTIONS)


class Draws(xr.DataTree):
    """A DataTree whose log_likelihood says that leave-one-out on it means nothing."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        """Look a group or a variable up, as DataTree does."""
        if name == GROUP:
            warn_of_leave_one_out()
        return super().__getattr__(name)


@functools.cache
def classic_draws(inference_data: Any) -> Any:
    """The same of ArviZ 0.x, made of its InferenceData, which keeps groups as attributes."""

    class InferenceData(inference_data):
        def __getattribute__(self, name: str) -> Any:
            if name == GROUP:
                warn_of_leave_one_out()
            return super().__getattribute__(name)

        def __reduce__(self) -> tuple[object, ...]:
            return _restored, (inference_data, self.__dict__)

    return InferenceData


def _restored(inference_data: Any, state: dict[str, object]) -> object:
    """Make one again from what pickle kept."""
    made = object.__new__(classic_draws(inference_data))
    made.__dict__.update(state)
    return made


def is_ours(groups: Mapping[str, xr.Dataset]) -> bool:
    """Tell whether the group log_likelihood of a file carries the note that ours does."""
    return GROUP in groups and groups[GROUP].attrs.get("note") == LOO_NOTE
