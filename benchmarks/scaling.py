"""How training scales: several processes of one core each, beside one process of one core.

All take the same steps of the same batches, of random images; the processes are started anew for
each turn, and add up their gradients as workers on several machines do.
"""

import contextlib
import os
import subprocess
import sys
import time
from typing import Any

from benchmarks.pairs import in_turn, in_words, notes, ratios, require_pairs, spread, surroundings
from pipeline.launch import configs, keep_to, share_of_cores
from serving.errors import ConvoyError

WARM_UP, STEPS = 3, 24


def images_per_second(recipe: str, workers: int) -> float:
    """Train for some steps by so many processes, each on a core of its own.

    Raises:
        ConvoyError: a process failed.
    """
    command = [sys.executable, "-m", "benchmarks.scaling", recipe]
    cores = share_of_cores(0, 1)
    processes = []
    with contextlib.ExitStack() as opened:
        for core, config in zip(cores, configs(workers), strict=False):
            environment = {**os.environ, "TF_CONFIG": config if workers > 1 else ""}
            process = opened.enter_context(
                subprocess.Popen(
                    command,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
            # Whoever interrupts the benchmark ends them all.
            opened.callback(process.kill)
            keep_to([core], process.pid)
            processes.append(process)
        answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise ConvoyError(
            f"a process of the benchmark failed: expected {workers} to train `{recipe}`, received "
            f"code {[process.returncode for process in processes]}; does `convoy launch --workers "
            f"{workers} train {recipe}` run?"
        )
    return float(answers[0])


def train(recipe_name: str) -> float:
    """Images per second of this process, together with those that `TF_CONFIG` names."""
    from benchmarks.sides import training
    from benchmarks.train import learner_of, noise
    from pipeline.recipes import find_recipe
    from pipeline.training.distribution import make_distribution
    from pipeline.training.shares import shares_of

    # Before anything else that TensorFlow does.
    distribution = make_distribution("multi-worker" if os.environ["TF_CONFIG"] else "none")
    recipe = find_recipe(recipe_name)
    learner, batches = learner_of(recipe, noise(28, STEPS), distribution)
    iterator, take_steps = iter(shares_of(batches, distribution)), training(learner)
    take_steps(iterator, WARM_UP)
    distribution.wait_for_all()
    began = time.perf_counter()
    take_steps(iterator, STEPS)
    return STEPS * recipe.data.batch_size / (time.perf_counter() - began)


def run(recipe: str, workers: int = 2, pairs: int = 10) -> dict[str, Any]:
    """Measure one process and `workers` in turn.

    Args:
        recipe: by name.
        workers: processes, each on a core of its own.
        pairs: turns.

    Raises:
        ConvoyError: too few pairs, workers or cores.
    """
    require_pairs(pairs, steady=10)
    cores = len(share_of_cores(0, 1))
    if not 2 <= workers <= cores:
        raise ConvoyError(
            f"--workers is out of range: expected 2 to the {cores} cores of this machine, received "
            f"{workers}; give another number."
        )
    before = os.getloadavg()
    found = in_turn(
        {
            "one process": lambda: images_per_second(recipe, 1),
            f"{workers} processes": lambda: images_per_second(recipe, workers),
        },
        pairs,
    )
    alone, together = found.values()
    return {
        "recipe": recipe,
        "workers": workers,
        "pairs": pairs,
        "images_per_second": {name: spread(values) for name, values in found.items()},
        "times": ratios(together, alone),
        **surroundings(before),
    }


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    lines = [f"{result['recipe']:16}{'images/s':>9}{'lower':>9}{'upper':>9}"]
    for name, speed in result["images_per_second"].items():
        lines.append(
            f"{name:16}{speed['median']:>9,.0f}{speed['lower']:>9,.0f}{speed['upper']:>9,.0f}"
        )
    sentence = (
        f"{result['workers']} processes, each on a core of its own, are so many times as fast as "
        f"one: {in_words(result['times'])}."
    )
    return "\n".join([*lines, "", *notes(result, sentence)])


if __name__ == "__main__":
    print(train(sys.argv[1]), flush=True)
    # Workers that end one by one miss each other.
    os._exit(0)
