import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.recipe import Training
from pipeline.training.schedule import WarmupDecay

DECAYS = ["linear", "cosine", "step", "none"]
PEAKS = st.floats(1e-4, 10)


def rates(schedule):
    """The learning rate of every step."""
    return np.array([float(schedule(step)) for step in range(schedule.steps)])


def loop_rate(step, peak, steps, warmup_steps, decay):
    """Up along a line, then down along a line, a half cosine, two steps, or not at all."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    left = (steps - step - 1) / (steps - warmup_steps)
    shares = {"linear": left, "cosine": math.sin(math.pi / 2 * left) ** 2, "none": 1}
    # A hair's breadth for what does not round to a half or a quarter.
    steps_down = (left <= 0.5 + 1e-6) + (left <= 0.25 + 1e-6)
    return peak * {**shares, "step": 10.0**-steps_down}[decay]


@settings(deadline=None, max_examples=30)
@given(st.data(), PEAKS, st.sampled_from(DECAYS))
def test_the_schedule_equals_plain_loops(data, peak, decay):
    steps = data.draw(st.integers(2, 40))
    warmup_steps = data.draw(st.integers(1, steps - 1))
    schedule = WarmupDecay(peak, steps, warmup_steps / steps, decay)
    expected = [loop_rate(step, peak, steps, warmup_steps, decay) for step in range(steps)]
    np.testing.assert_allclose(rates(schedule), expected, rtol=1e-3, atol=1e-5 * peak)


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("warmup_steps", [1, 20, 99])
def test_it_peaks_at_the_end_of_the_warm_up(decay, warmup_steps):
    found = rates(WarmupDecay(0.4, 100, warmup_steps / 100, decay))
    assert found[warmup_steps - 1] == pytest.approx(0.4, rel=1e-4)
    assert found.max() <= 0.4 * (1 + 1e-6)
    assert (np.diff(found[:warmup_steps]) > 0).all()
    assert (np.diff(found[warmup_steps:]) <= 0).all()


@settings(deadline=None)
@given(PEAKS, st.integers(1, 10**6), st.floats(*Training.ranges["warmup"]))
def test_a_linear_or_cosine_fall_reaches_zero_at_the_last_step(peak, steps, warmup):
    for decay in ("linear", "cosine"):
        last = float(WarmupDecay(peak, steps, warmup, decay)(steps - 1))
        assert last == pytest.approx(0, abs=1e-4 * peak)


@settings(deadline=None)
@given(
    PEAKS,
    st.integers(1, 50),
    st.floats(*Training.ranges["warmup"]),
    st.sampled_from(DECAYS),
    st.integers(0, 60),
)
def test_the_rate_stays_between_zero_and_the_peak_even_past_the_end(
    peak, steps, warmup, decay, step
):
    rate = float(WarmupDecay(peak, steps, warmup, decay)(step))
    assert 0 <= rate <= peak * (1 + 1e-6)


def test_without_warm_up_it_falls_from_the_first_step():
    np.testing.assert_allclose(rates(WarmupDecay(1.0, 4, 0)), [0.75, 0.5, 0.25, 0], atol=1e-6)


def test_the_schedule_survives_its_configuration():
    schedule = WarmupDecay(0.3, 50, 0.1, "cosine")
    assert WarmupDecay.from_config(schedule.get_config()).get_config() == schedule.get_config()


def test_an_optimizer_with_the_schedule_survives_serialization():
    optimizer = keras.optimizers.SGD(WarmupDecay(0.3, 50, 0.1, "cosine"))
    restored = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    np.testing.assert_array_equal(
        rates(restored._learning_rate), rates(WarmupDecay(0.3, 50, 0.1, "cosine"))
    )
