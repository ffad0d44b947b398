"""Which arithmetic to train in: what the processor or GPU does fast and safely."""

from pathlib import Path

import tensorflow as tf

from pipeline.recipe import Recipe

# Keras policies: weights, logits and losses stay float32 in all of them.
POLICIES = {
    "float32": "float32",
    "bfloat16": "mixed_bfloat16",
    "float16": "mixed_float16",
}


def precision_of(recipe: Recipe) -> str:
    """In which arithmetic a recipe trains on this machine."""
    return "float32" if recipe.quantize == "qat" else choose_precision(recipe.training.precision)


def choose_precision(wanted: str) -> str:
    """Resolve `"auto"`: bfloat16 where the hardware has it, float16 on older GPUs, else float32.

    float16 needs loss scaling, which Keras adds by itself; on processors it is
    slower than float32 and never chosen.
    """
    if wanted != "auto":
        return wanted
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return gpu_precision(details.get("compute_capability", (0, 0)))
    return cpu_precision(processor_flags())


def gpu_precision(compute_capability: tuple[int, int]) -> str:
    """Ampere (8.0) brought bfloat16, Volta (7.0) fast float16."""
    if compute_capability >= (8, 0):
        return "bfloat16"
    return "float16" if compute_capability >= (7, 0) else "float32"


def cpu_precision(flags: set[str]) -> str:
    """bfloat16 where the processor multiplies it natively."""
    return "bfloat16" if flags & {"avx512_bf16", "amx_bf16"} else "float32"


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What the processor says it can do; nothing where the system does not tell."""
    if not cpuinfo.exists():
        return set()
    for line in cpuinfo.read_text().splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
