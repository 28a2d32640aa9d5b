"""Executors: what runs calls elsewhere, of an existing engine. None of our own starts a process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

from ppl_vae.errors import ModelError
from ppl_vae.extras import imported

if TYPE_CHECKING:
    from distributed import Client

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class HasExecutor(Protocol):
    """A client of an engine that can stand as an executor, as that of dask.distributed does."""

    def get_executor(self, **options: object) -> Executor:
        """The executor that submits to the engine."""


Executors: TypeAlias = Executor | HasExecutor | str | int | None


class InThisProcess(Executor):
    """Runs each call at once, here."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run the call; its error, if any, is the future's."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextlib.contextmanager
def open_executor(executor: Executors) -> Iterator[Executor]:
    """Stand an executor ready, and close what was opened for it.

    Args:
        executor: None runs in this process. A number starts a dask.distributed.LocalCluster of so many worker
            processes with one thread each; a text is the address of a dask scheduler. Else a dask Client, or any
            concurrent.futures.Executor, which stay open.

    Raises:
        ModelError: it is none of these, or dask.distributed is not installed.
    """
    if executor is None:
        yield InThisProcess()
    elif isinstance(executor, Executor):
        yield executor
    elif isinstance(executor, HasExecutor):
        yield executor.get_executor(pure=False)
    elif isinstance(executor, str) or (isinstance(executor, int) and not isinstance(executor, bool)):
        with _client(executor) as client:
            yield client.get_executor(pure=False)
    else:
        raise ModelError(
            "executor: expected None, a number of workers, the address of a dask scheduler, a dask Client or a "
            f"concurrent.futures.Executor, got {type(executor).__name__}"
        )


def submitted(future: Future[T], what: str) -> T:
    """The result of a call that ran elsewhere.

    Raises:
        ModelError: what it was given cannot be sent to another process, or a pool's worker was killed.
    """
    try:
        return future.result()
    except BrokenExecutor as error:
        raise ModelError(f"{what}: a worker of the executor has gone ({error})") from error
    except Exception as error:
        # Pickle's own error, or the AttributeError or TypeError of what it met.
        if "pickle" not in str(error):
            raise
        raise ModelError(f"{what}: cannot be sent to another process ({error})") from error


@contextlib.contextmanager
def _client(wanted: str | int) -> Iterator[Client]:
    distributed = imported("distributed", f"executor={wanted!r}", "'ppl_vae[sweep]'")
    if isinstance(wanted, str):
        with distributed.Client(wanted) as client:
            yield client
        return
    if wanted < 1:
        raise ModelError(f"executor: expected at least one worker, got {wanted}")
    cluster = distributed.LocalCluster(
        n_workers=wanted, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        yield client
