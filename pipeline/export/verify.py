"""Prove a bundle: score every route on the whole test split and let the gate decide."""

import dataclasses

import keras
import numpy as np

from pipeline.data.batches import evaluation_batches
from pipeline.data.splits import Examples, balanced
from pipeline.export.gate import judge
from pipeline.export.page import verify_page
from pipeline.export.routes import Answers, answer
from pipeline.files import whole, write_json, write_text
from pipeline.recipe import Export
from pipeline.recipe import Gate as Limits
from pipeline.run import Run
from pipeline.task import Classification
from serving.bundle import (
    MANIFEST,
    Bundle,
    Evidence,
    Manifest,
    Route,
    digest,
    file_entry,
    open_bundle,
)
from serving.errors import ConvoyError, GateFailed
from serving.golden import GOLDEN, Golden

# Enough to notice a runtime that computes otherwise, few enough to travel with every bundle.
GOLDEN_IMAGES = 10


def probabilities(network: keras.Model, task: Classification, examples: Examples) -> np.ndarray:
    """What the trained network answers: the reference for every exported file."""
    logits = network.predict(evaluation_batches(examples), verbose=0)["logits"]
    return np.asarray(task.activate(logits))


def load_network(run: Run) -> keras.Model:
    """The run's trained network.

    Raises:
        ConvoyError: missing or damaged.
        GateFailed: the file is not the one that training wrote.
    """
    try:
        found = digest(run.network)
    except OSError as error:
        raise ConvoyError(
            f"{run.folder} has no trained network: expected {run.network.name}, received "
            f"`{error.strerror}`; pass the folder of a finished run."
        ) from error
    if found != run.metrics.get("model_sha256"):
        raise GateFailed(
            f"{run.network} changed after training: expected sha256 "
            f"{str(run.metrics.get('model_sha256'))[:12]}..., received {found[:12]}...; "
            "nothing made from it may ship; train again."
        )
    return keras.saving.load_model(run.network, compile=False)


def verify(run: Run, task: Classification, test: Examples, reference: np.ndarray) -> Bundle:
    """Score each route, judge it, and keep the evidence in the bundle.

    Writes the verdicts into the manifest, and `verify.json`, `verify.md` and the
    golden images beside it.

    Args:
        run: with a bundle in it.
        task: scores and compares answers.
        test: the whole test split.
        reference: the trained network's probabilities on it.

    Raises:
        ConvoyError: the bundle is missing, or a file in it is damaged.
    """
    bundle = open_bundle(run.bundle)
    accuracy, limits = task.score(reference, test.labels), limits_of(bundle, run)
    routes, answers = [], {}
    for route in bundle.manifest.routes:
        given = answer(bundle, route.route, test.images)
        evidence = weigh(given, task, test.labels, reference)
        gate = judge(route, evidence, accuracy, limits)
        routes.append(dataclasses.replace(route, evidence=evidence, gate=gate))
        answers[route.route] = given.probabilities
    chosen = balanced(test, GOLDEN_IMAGES, run.recipe.seed)
    golden = Golden(test.images[chosen], {name: each[chosen] for name, each in answers.items()})
    with whole(run.bundle / GOLDEN) as scratch:
        golden.save(scratch)
    manifest = dataclasses.replace(
        bundle.manifest, routes=tuple(routes), golden=file_entry(run.bundle, GOLDEN)
    )
    record = evidence_record(manifest, accuracy, len(test), limits)
    write_json(run.bundle / "verify.json", record)
    write_text(run.bundle / "verify.md", verify_page(manifest, accuracy, len(test), limits))
    # Last: a manifest that lets a file ship has its evidence beside it.
    write_text(run.bundle / MANIFEST, manifest.to_json())
    return Bundle(run.bundle, manifest)


def weigh(
    answers: Answers, task: Classification, labels: np.ndarray, reference: np.ndarray
) -> Evidence:
    """Turn a route's answers into figures."""
    worst_class, drop = task.worst_class_drop(answers.probabilities, reference, labels)
    mean, largest = task.differences(answers.probabilities, reference)
    p50, p99 = np.percentile(answers.milliseconds, [50, 99])
    return Evidence(
        images=len(labels),
        accuracy=task.score(answers.probabilities, labels),
        agreement=task.agreement(answers.probabilities, reference),
        worst_class=worst_class,
        worst_class_drop=drop,
        latency_p50_ms=round(float(p50), 4),
        latency_p99_ms=round(float(p99), 4),
        signatures={
            name: task.agreement(given, reference) for name, given in answers.signatures.items()
        },
        mean_difference=mean,
        largest_difference=largest,
        images_per_second=round(answers.images_per_second, 1),
        arena_bytes=answers.arena_bytes,
    )


def limits_of(bundle: Bundle, run: Run) -> Limits:
    """What the files must prove: as the bundle was exported, else as the run's recipe says.

    Raises:
        ConvoyError: written by another version.
    """
    if not bundle.manifest.export:
        return run.recipe.export.gate
    try:
        return Export.from_dict(bundle.manifest.export).gate
    except (KeyError, TypeError, AttributeError) as error:
        raise ConvoyError(
            f"{bundle.folder} was written by another version of Convoy: expected every limit of "
            f"its gate, received {error!r}; export the run again."
        ) from error


def evidence_record(manifest: Manifest, accuracy: float, images: int, limits: Limits) -> dict:
    """The content of `verify.json`."""
    return {
        "limits": dataclasses.asdict(limits),
        "test_images": images,
        "trained_accuracy": accuracy,
        "routes": {route.route: route_record(route) for route in manifest.routes},
    }


def route_record(route: Route) -> dict:
    """One route's part of `verify.json`."""
    content = dataclasses.asdict(route)
    return {"bytes": route.bytes, "evidence": content["evidence"], "gate": content["gate"]}


def require_shippable(bundle: Bundle) -> None:
    """Raise `GateFailed` naming every route that may not ship."""
    failed = [f"{route.route} {'; '.join(route.reasons)}" for route in bundle.manifest.held_back]
    if failed:
        raise GateFailed(
            f"{bundle.folder}: the gate holds back {len(failed)} of {len(bundle.manifest.routes)} "
            f"routes: {'. '.join(failed)}; see verify.md in it."
        )
