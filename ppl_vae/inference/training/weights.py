"""The trainable numbers of a pair: of its modules, of its objective, and of its pyro.param sites."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

from ppl_vae.errors import ModelError
from ppl_vae.inference.estimators.base import Objective
from ppl_vae.inference.pair.evaluation_mode import evaluation_mode
from ppl_vae.inference.pair.indices import Indexed, rows_refused
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.separate_draws import require_separate_draws
from ppl_vae.inference.pair.site_shapes import require_data_rows
from ppl_vae.inference.pair.stopped import leaves_of
from ppl_vae.inference.pair.trace import owner
from ppl_vae.inference.pair.validity import require_valid
from ppl_vae.randomness import seeded
from ppl_vae.registration import unregistered


@dataclass(frozen=True)
class Weights:
    """Everything that training changes.

    Attributes:
        modules: "model", "guide" and "objective", where they are nn.Modules (or methods of one).
        store: the user's own pyro.param sites by name: the unconstrained leaves in the global store.
        networks: modules of none of those, which plain functions call: what ``pyro.module`` shows, and others in
            closures. Their parameters are trained through the store; their buffers are kept here.
        late: names in ``store`` that first appeared while training.
    """

    modules: Mapping[str, nn.Module]
    store: dict[str, Tensor]
    networks: Sequence[nn.Module] = ()
    late: set[str] = field(default_factory=set)

    def parameters(self) -> list[Tensor]:
        """Every trainable leaf once."""
        return list(self.named_parameters().values())

    def named_parameters(self) -> dict[str, Tensor]:
        """Every trainable leaf once, by the name that ``state`` has for it."""
        return {name: leaf for name, leaf in self._leaves().items() if leaf.requires_grad}

    def frozen(self) -> dict[str, Tensor]:
        """Every leaf that is not trained once, by its name, also those of networks that the store does not have."""
        of_networks = {
            f"network.{index}.{name}": p
            for index, network in enumerate(self.networks)
            for name, p in network.named_parameters()
        }
        known = {id(leaf) for leaf in self._leaves().values()}
        leaves = self._leaves() | {name: p for name, p in of_networks.items() if id(p) not in known}
        return {name: leaf for name, leaf in leaves.items() if not leaf.requires_grad}

    def _leaves(self) -> dict[str, Tensor]:
        """Every leaf of the modules and of the store once, by the first name that it has."""
        leaves = {
            f"{part}.{name}": p for part, module in self.modules.items() for name, p in module.named_parameters()
        } | {f"store.{name}": leaf for name, leaf in self.store.items()}
        first = {id(leaf): name for name, leaf in reversed(leaves.items())}
        return {name: leaf for name, leaf in leaves.items() if first[id(leaf)] == name}

    def buffers(self) -> list[Tensor]:
        """Every buffer once, also those that ``state`` leaves out."""
        buffers = [buffer for module in (*self.modules.values(), *self.networks) for buffer in module.buffers()]
        return list({id(buffer): buffer for buffer in buffers}.values())

    def untrained(self) -> list[Tensor]:
        """The tensors that programs may change themselves: every buffer and every frozen parameter, once."""
        return list({id(tensor): tensor for tensor in (*self.buffers(), *self.frozen().values())}.values())

    def buffers_of_pair(self) -> list[Tensor]:
        """The buffers of the pair, without those of the objective."""
        modules = [module for part, module in self.modules.items() if part != "objective"]
        buffers = [buffer for module in (*modules, *self.networks) for buffer in module.buffers()]
        return list({id(buffer): buffer for buffer in buffers}.values())

    def train(self, mode: bool = True) -> None:
        """Put every module into training or evaluation mode; a frozen network keeps the mode it is in."""
        for module in (*self.modules.values(), *self._trained_networks()):
            module.train(mode)

    def state(self) -> dict[str, Tensor]:
        """Copy every parameter and buffer, by name."""
        return {name: tensor.detach().clone() for name, tensor in self.tensors().items()}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Copy a stored state back, in place; a pyro.param that came later than the state keeps its value.

        Raises:
            ModelError: it is the state of another pair; the first difference is named.
        """
        self.require_fit(state)
        for name, tensor in self.tensors().items():
            if name in state:
                tensor.copy_(state[name])

    def require_fit(self, state: Mapping[str, Tensor]) -> None:
        """Refuse the state of another pair.

        Raises:
            ModelError: the first difference is named.
        """
        kept = {name: tensor for name, tensor in self.tensors().items() if name in state or not self._is_late(name)}
        for name in [*kept, *state]:
            if name not in kept and name.startswith("store."):
                raise ModelError(
                    f"{name.removeprefix('store.')!r} is a pyro.param that first appears after some steps: its "
                    "condition is not part of a checkpoint, so such a run cannot be continued"
                )
            if name not in kept or name not in state or kept[name].shape != state[name].shape:
                stored = list(state[name].shape) if name in state else "nothing"
                expected = list(kept[name].shape) if name in kept else "nothing"
                raise ModelError(f"checkpoint of another architecture: {name!r} is {stored}, expected {expected}")

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer, by the name that ``state`` has for it."""
        named = {
            f"{part}.{name}": tensor
            for part, module in self.modules.items()
            for name, tensor in module.state_dict(keep_vars=True).items()
        }
        for index, network in enumerate(self.networks):
            named |= {f"network.{index}.{name}": buffer for name, buffer in network.named_buffers()}
        return named | {f"store.{name}": leaf for name, leaf in self.store.items()}

    def _is_late(self, name: str) -> bool:
        return name.removeprefix("store.") in self.late

    def _trained_networks(self) -> list[nn.Module]:
        """The modules with a parameter that is trained, and those without any, such as a dropout of its own."""
        known = {id(leaf) for leaf in self.parameters()}
        held = [(network, list(network.parameters())) for network in self.networks]
        return [network for network, own in held if not own or any(id(leaf) in known for leaf in own)]


def collect_weights(
    model: Program, guide: Program, objective: Objective, *batch: Tensor, num_data: int | None = None
) -> Weights:
    """Find the trainable numbers; the pair is run once on a batch so that its pyro.param sites come to be.

    Raises:
        ModelError: a pyro.module's name is taken in the parameter store by other tensors, so that training
            would move those and not the module's; or the pair has no densities on this batch, or one of a draw
            that moves with its other draws; or a network takes part that neither the pair nor the store shows; or
            there is nothing to train; or a parameter with a row for each of ``num_data`` data is used in a batch's
            order.
    """
    modules = {"model": owner(model), "guide": owner(guide), "objective": objective}
    resting = evaluation_mode(model, guide)
    with unregistered(), resting, poutine.trace(param_only=True) as capture:
        terms = objective.run(model, guide, *batch)
    require_data_rows(terms.num_data, batch[0])
    require_valid(model, guide, batch, {}, terms)
    objective.judge(terms)
    if objective.num_draws > 1:
        with unregistered(), evaluation_mode(model, guide), seeded(0, batch[0].device):
            require_separate_draws(model, guide, batch, among_data=False)
    store = {name: _leaf(name, node) for name, node in capture.trace.nodes.items() if node["type"] == "param"}
    held = {part: module for part, module in modules.items() if module is not None}
    in_modules = {id(p) for module in held.values() for p in module.parameters()}
    parts = {id(part) for module in held.values() for part in module.modules()}
    networks = [module for module in resting.outermost() if id(module) not in parts]
    weights = Weights(held, {name: leaf for name, leaf in store.items() if id(leaf) not in in_modules}, networks)
    known = {id(leaf) for leaf in weights.parameters()}
    densities = [terms.log_likelihood]
    for level in terms.levels:
        # An autoencoder has neither: its point of a code stands in the likelihood.
        with contextlib.suppress(ModelError):
            densities.append(level.log_prior)
        with contextlib.suppress(ModelError):
            densities.append(level.log_guide)
    hidden = [leaf for leaf in leaves_of(densities) if id(leaf) not in known]
    if hidden:
        raise ModelError(
            f"a parameter of shape {list(hidden[0].shape)} takes part in the densities, but no pyro.module or "
            "pyro.param registers it, so it would never be trained: register its network with pyro.module, or "
            "freeze it with requires_grad_(False)"
        )
    if not known:
        raise ModelError(
            "nothing to train: neither model nor guide is an nn.Module with parameters or has a pyro.param"
        )
    if num_data is not None and num_data > len(batch[0]) and not isinstance(model, Indexed):
        _require_no_rows(weights.store, densities, len(batch[0]), num_data)
    return weights


def _require_no_rows(store: Mapping[str, Tensor], densities: list[Tensor], size: int, total: int) -> None:
    """Refuse a pyro.param of which a batch uses the first rows, whichever data are in it."""
    total_density = torch.stack([density.sum() for density in densities]).sum()
    for name, leaf in store.items():
        if leaf.requires_grad and total in leaf.shape[:1] and total_density.requires_grad:
            (gradient,) = torch.autograd.grad(total_density, leaf, retain_graph=True, allow_unused=True)
            if gradient is not None and gradient[:size].any() and not gradient[size:].any():
                raise ModelError(rows_refused(f"param {name!r} {list(leaf.shape)}", total, size))


def require_own_parameters(modules: Iterable[nn.Module]) -> None:
    """Refuse PyroModules that would silently take the values that an earlier one left in the store.

    Raises:
        ModelError: the store holds another tensor under a parameter's name.
    """
    store = pyro.get_param_store()._params
    for part in (sub for module in modules for sub in module.modules() if isinstance(sub, PyroModule)):
        for key, own in part._parameters.items():
            # Pyro's own function for this asserts that the module has run already.
            name = ".".join(filter(None, (part._pyro_name, key.removesuffix("_unconstrained"))))
            if own is not None and store.get(name, own) is not own:
                raise ModelError(_stale(name))


def _leaf(name: str, node: Any) -> Tensor:
    leaf = pyro.get_param_store()._params[name]
    given = node["args"][1] if len(node["args"]) > 1 else None
    if isinstance(given, nn.Parameter) and given is not leaf:
        raise ModelError(_stale(name))
    return leaf


def _stale(name: str) -> str:
    return (
        f"param {name!r}: the parameter store holds other tensors under this name, left by an earlier module, "
        "and would train those; call pyro.clear_param_store() or register the module under another name"
    )
