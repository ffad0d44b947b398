"""The learning rate over a training: a rise, then a fall."""

import math

import keras


@keras.saving.register_keras_serializable(package="pipeline")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from zero to a peak, then falls to zero by the last step.

    Args:
        peak: float. The highest learning rate.
        steps: int. Length of the whole training.
        warmup: float. Share of the steps over which it rises.
        decay: `"linear"`, `"cosine"`, or `"none"` to stay at the peak.

    Reference:
        Goyal et al., 2017. https://arxiv.org/abs/1706.02677 (warm-up)
    """

    def __init__(self, peak, steps, warmup=0.2, decay="linear"):
        self.peak = peak
        self.steps = steps
        self.warmup = warmup
        self.decay = decay

    def __call__(self, step):
        done = (keras.ops.cast(step, "float32") + 1) / self.steps
        rising = done / max(self.warmup, 1 / self.steps)
        fallen = keras.ops.clip((done - self.warmup) / (1 - self.warmup), 0, 1)
        falling = {
            "linear": 1 - fallen,
            "cosine": (1 + keras.ops.cos(math.pi * fallen)) / 2,
            "none": keras.ops.ones_like(fallen),
        }[self.decay]
        return self.peak * keras.ops.minimum(rising, falling)

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "decay": self.decay,
        }
