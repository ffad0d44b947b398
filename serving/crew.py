"""Many images at a time: each of several models of one file answers one after the other."""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Queue, SimpleQueue
from typing import TypeVar

Model = TypeVar("Model")
Item = TypeVar("Item")
Result = TypeVar("Result")

# Items that are taken ahead for each model.
AHEAD = 2


def in_order(
    models: Sequence[Model], work: Callable[[Model, Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Yield `work(model, item)` for each item, in their order; each model has one item at a time.

    A result is given as soon as it and those before it are known, also while the next item is
    still waited for.

    Raises:
        Exception: what `work` or the items raise, in its place.
    """
    if len(models) == 1:
        # Nothing to wait for: no threads.
        yield from (work(models[0], item) for item in items)
        return
    idle: SimpleQueue[Model] = SimpleQueue()
    for model in models:
        idle.put(model)

    def borrow(item: Item) -> Result:
        model = idle.get()
        try:
            return work(model, item)
        finally:
            idle.put(model)

    pool = ThreadPoolExecutor(len(models))
    waiting: Queue[Future[Result] | None] = Queue(AHEAD * len(models))
    stopped = threading.Event()

    def feed() -> None:
        end: Future[Result] | None = None
        try:
            for item in items:
                if stopped.is_set():
                    return
                waiting.put(pool.submit(borrow, item))
        except BaseException as error:  # It belongs to who asked for the items.
            end = Future()
            end.set_exception(error)
        waiting.put(end)

    # A daemon: it may wait for an item that never comes.
    threading.Thread(target=feed, daemon=True).start()
    try:
        while (future := waiting.get()) is not None:
            yield future.result()
    finally:
        stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        # Room for what is still being fed, so that the thread ends.
        with contextlib.suppress(Empty):
            while True:
                waiting.get_nowait()
