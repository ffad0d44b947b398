"""Several models answer at a time, and nobody notices but by the clock."""

import itertools
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.crew import in_order


@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=20))
def test_results_come_in_the_order_of_the_items(count, items):
    def work(model, item):
        time.sleep(item / 3000)
        return model, item

    found = list(in_order(range(count), work, items))
    assert [item for _, item in found] == items
    assert {model for model, _ in found} <= set(range(count))


def test_each_model_has_one_item_at_a_time_and_all_are_used():
    busy = [threading.Lock() for _ in range(3)]
    together = threading.Barrier(3)

    def work(model, item):
        assert model.acquire(blocking=False)
        together.wait(10)
        model.release()
        return item

    assert list(in_order(busy, work, range(9))) == list(range(9))


@pytest.mark.parametrize("count", [1, 3])
def test_a_result_does_not_wait_for_the_next_item(count):
    given_back = threading.Event()

    def items():
        yield 1
        assert given_back.wait(10)
        yield 2

    found = in_order(range(count), lambda _, item: item, items())
    assert next(found) == 1
    given_back.set()
    assert list(found) == [2]


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_comes_in_its_place(count):
    def items():
        yield from (1, 2)
        raise OSError("no more")

    found = in_order(range(count), lambda _, item: 1 // (item - 2), items())
    assert next(found) == -1
    with pytest.raises(ZeroDivisionError):
        next(found)
    found = in_order(range(count), lambda _, item: item, items())
    assert list(itertools.islice(found, 2)) == [1, 2]
    with pytest.raises(OSError, match="no more"):
        next(found)


def test_who_stops_asking_leaves_no_worker_behind():
    before = set(threading.enumerate())
    found = in_order(range(3), lambda _, item: item, itertools.count())
    assert next(found) == 0
    found.close()
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before
