"""A first compilation in half of the time: what it can do without is left out.

On the two cores where it was written the first ten compiled steps of MNIST's MLP took 15 seconds from process start
before, and 9 with this and without precompiled headers, which take 5 of them.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Is loaded with the compiler, which takes two seconds.
COMPILER = "torch._inductor.compile_fx"


@contextlib.contextmanager
def short_builds(meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Let Inductor compile inside without what it can do without.

    Beside the sets of vector instructions of ``cpp.vec_isa_ok`` it would build and load three programs, each for
    one instruction; where the compiler does not know one, plainer options are left. It would build kernels and what
    calls them one after the other, with warnings about torch's headers that nobody reads. It would write down its
    rules of types anew for every kernel. And Python would look for garbage among all the objects that it makes.

    Args:
        meanwhile: is called while the compiler works, when Python would wait for it.
    """
    with contextlib.ExitStack() as changed:
        changed.enter_context(_without_collection(loads=COMPILER not in sys.modules))
        from torch._inductor import codecache, cpp_builder
        from torch._inductor.cpu_vec_isa import VecISA
        from torch._inductor.dtype_propagation import DtypePropagationOpsHandler

        changed.enter_context(_replaced(VecISA, "check_build", lambda isa, code: True))
        changed.enter_context(_replaced(cpp_builder, "_get_warning_all_cflag", lambda *_: ["w"]))
        changed.enter_context(_made_once(DtypePropagationOpsHandler))
        changed.enter_context(
            _replaced(codecache, "_worker_compile_cpp", functools.partial(_build_at_once, meanwhile))
        )
        yield


@contextlib.contextmanager
def _replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Put another attribute in the place of one that is there."""
    before = getattr(owner, name, None)
    if before is None:
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def _made_once(single: type) -> Iterator[None]:
    """Let a class of which there is one object fill it at its first call alone, not again at each."""
    made: list[object] = []
    fill = single.__init__  # type: ignore[misc]

    def once(self: object) -> None:
        if not any(each is self for each in made):
            fill(self)
            made.append(self)

    with _replaced(single, "__init__", once):
        yield


@contextlib.contextmanager
def _without_collection(loads: bool) -> Iterator[None]:
    """Collect no garbage inside.

    Args:
        loads: whether the compiler is loaded inside. Most of what is made then is its modules, which stay: all
            counts as old afterwards, where Python would search it at once.
    """
    collects, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if loads and not frozen:
            gc.freeze()
            gc.unfreeze()
        if collects:
            gc.enable()


def _build_at_once(meanwhile: Callable[[], object], lock_path: str, builders: Sequence[Any]) -> None:
    """Build the objects of a library at the same time, then the library; of one part, that alone."""
    from torch._inductor.codecache import LOCK_TIMEOUT
    from torch.utils._filelock import FileLock

    *parts, library = builders
    with FileLock(lock_path, timeout=LOCK_TIMEOUT):
        with ThreadPoolExecutor(max(1, len(parts))) as pool:
            built = pool.map(_build, parts)
            meanwhile()
            list(built)
        _build(library)


def _build(builder: Any) -> None:
    if not Path(builder.get_target_file_path()).exists():
        builder.build()
