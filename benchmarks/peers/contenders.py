"""The contenders by name. Each module is imported only when its contender runs: peers are optional."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from .contender import Contender, UnavailableError

OPTIONAL = {"numpyro_svi": ("jax", "numpyro"), "pythae_trainer": ("pythae",)}
EAGER, CAPTURED, PRODUCTS = "ours-eager", "ours-captured", "products"


def loader(module: str, name: str) -> Callable[[], Callable[..., Any]]:
    """What imports a contender's module and finds its class there."""

    def load() -> Callable[..., Any]:
        try:
            return getattr(importlib.import_module(f".{module}", __package__), name)
        except ModuleNotFoundError as error:
            if error.name in OPTIONAL.get(module, ()):
                raise UnavailableError(f"{error.name} is not installed (pip install 'ppl_vae[bench]')") from None
            raise

    return load


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(EAGER, "ppl_vae, eager", loader("ours", "Fit"), own_threads=True),
        Contender(CAPTURED, "ppl_vae, captured", loader("ours", "CapturedFit"), own_threads=True),
        Contender("pyro-example", "Pyro, its example", loader("stock_pyro", "Example"), exact_kl=False),
        Contender("pyro-loader", "Pyro, DataLoader", loader("stock_pyro", "WithLoader")),
        Contender("pyro-memory", "Pyro, in memory", loader("stock_pyro", "InMemory")),
        Contender("hand-eager", "PyTorch by hand", loader("hand_pytorch", "Eager")),
        Contender("hand-compile", "PyTorch, torch.compile", loader("hand_pytorch", "Compiled")),
        Contender("numpyro-jit", "NumPyro, jit", loader("numpyro_svi", "JitStep")),
        Contender("numpyro-scan", "NumPyro, lax.scan", loader("numpyro_svi", "Scan")),
        Contender("pythae", "pythae", loader("pythae_trainer", "Trainer")),
    )
}
CUDA_CONTENDERS = {
    **CONTENDERS,
    "cuda-graph": Contender("cuda-graph", "PyTorch, CUDA graph", loader("cuda_graph", "Graph")),
    "cuda-graph-unrolled": Contender(
        "cuda-graph-unrolled", "PyTorch, CUDA graph of several steps", loader("cuda_graph", "UnrolledGraph")
    ),
}
