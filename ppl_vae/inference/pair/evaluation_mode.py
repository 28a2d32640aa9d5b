"""The evaluation mode of networks: dropout off, batch norm at its running statistics, buffers kept."""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from ppl_vae.errors import ModelError
from ppl_vae.inference.pair.held import modules_of
from ppl_vae.inference.pair.protocols import Program
from ppl_vae.inference.pair.trace import owner


class evaluation_mode:  # noqa: N801  (a context manager, named as torch's own no_grad)
    """Hold modules in evaluation mode inside; afterwards they and their buffers are as they were.

    Those are the modules that the programs hold (``inference.pair.held``) and, where a program is a plain function,
    whatever else is called while it runs: a network of ``pyro.module`` may lie anywhere.

    Attributes:
        modules: found so far, by id.

    Raises:
        ModelError: a batch norm has no running statistics, so that a datum's number would depend on its neighbours.
    """

    def __init__(self, *programs: Program) -> None:
        self.modules: dict[int, nn.Module] = {}
        self._put_back: list[Callable[[], None]] = []
        self._found = modules_of(*programs)
        self._listens = any(owner(program) is None for program in programs)
        self._thread = threading.get_ident()

    def __enter__(self) -> evaluation_mode:
        try:
            for module in self._found:
                self._rest(module)
        except ModelError:
            self._leave()
            raise
        if self._listens:
            self._hook = register_module_forward_pre_hook(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        if self._listens:
            self._hook.remove()
        self._leave()

    def outermost(self) -> list[nn.Module]:
        """The modules found so far, without those that another of them contains."""
        inside = {id(part) for module in self.modules.values() for part in module.modules() if part is not module}
        return [module for module in self.modules.values() if id(module) not in inside]

    def _leave(self) -> None:
        while self._put_back:
            self._put_back.pop()()

    def _called(self, module: nn.Module, _: object) -> None:
        """Put a module that was not found before into evaluation mode ahead of its forward."""
        if id(module) not in self.modules and threading.get_ident() == self._thread:
            for part in module.modules():
                self._rest(part)

    def _rest(self, module: nn.Module) -> None:
        if id(module) in self.modules:
            return
        self.modules[id(module)] = module
        self._put_back.append(_mode_and_buffers(module))
        module.training = False
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ModelError(
                f"{module}: without running statistics it normalises by the batch, so that a datum's number "
                "depends on its neighbours; let it track them, or use nn.LayerNorm or nn.GroupNorm"
            )


def _mode_and_buffers(module: nn.Module) -> Callable[[], None]:
    """Record a module's own mode and buffers, to be put back."""
    training = module.training
    kept = [
        (name, buffer, _version(buffer), buffer.detach().clone())
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]

    def put_back() -> None:
        module.training = training
        for name, buffer, version, value in kept:
            if name in module._buffers:
                module._buffers[name] = buffer
            if _version(buffer) != version or version is None:
                with torch.no_grad():
                    buffer.copy_(value)

    return put_back


def _version(tensor: torch.Tensor) -> int | None:
    """The number of changes of a tensor in place; tensors of torch's inference mode do not say."""
    return None if tensor.is_inference() else tensor._version
