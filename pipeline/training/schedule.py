"""The learning rate over a training: a rise, then a fall."""

import math

import keras

# Where the steps of `step` lie between the peak and the end, and what each leaves.
STEPS, LEFT = (0.5, 0.75), 0.1


@keras.saving.register_keras_serializable(package="pipeline")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from zero to a peak, then falls until the last step.

    Args:
        peak: float. The highest learning rate.
        steps: int. Length of the whole training.
        warmup: float. Share of the steps over which it rises.
        decay: `"linear"` or `"cosine"`, to zero; `"step"`, to a tenth at half and
            again at three quarters of the way; or `"none"`, to stay at the peak.

    Reference:
        Goyal et al., 2017. https://arxiv.org/abs/1706.02677 (warm-up)
        Loshchilov and Hutter, 2016. https://arxiv.org/abs/1608.03983 (cosine)
        Smith and Topin, 2017. https://arxiv.org/abs/1708.07120 (the triangle of warm-up and linear)
        He et al., 2015. https://arxiv.org/abs/1512.03385 (steps)
    """

    def __init__(self, peak, steps, warmup=0.2, decay="linear"):
        self.peak = peak
        self.steps = steps
        self.warmup = warmup
        self.decay = decay

    def __call__(self, step):
        steps, warmup = (keras.ops.cast(each, "float32") for each in (self.steps, self.warmup))
        done = (keras.ops.cast(step, "float32") + 1) / steps
        rising = done / keras.ops.maximum(warmup, 1 / steps)
        fallen = keras.ops.clip((done - warmup) / (1 - warmup), 0, 1)
        return self.peak * keras.ops.minimum(rising, self.share(fallen))

    def share(self, fallen):
        """What is left of the peak after this share of the way down."""
        if self.decay == "linear":
            return 1 - fallen
        if self.decay == "cosine":
            return (1 + keras.ops.cos(math.pi * fallen)) / 2
        share = keras.ops.ones_like(fallen)
        for step in STEPS if self.decay == "step" else ():
            # A hair earlier, for a half may be rounded down.
            share = keras.ops.where(fallen >= step - 1e-6, share * LEFT, share)
        return share

    def get_config(self):
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "decay": self.decay,
        }
