"""What each of several replicas sees of the batches that a single process would see."""

from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.data.splits import Examples
from pipeline.training.distribution import Distribution
from serving.errors import ConvoyError


def require_even(batch_size: int, distribution: Distribution) -> None:
    """Refuse a batch that cannot be divided evenly.

    Raises:
        ConvoyError: it cannot.
    """
    if batch_size % distribution.replicas:
        raise ConvoyError(
            "--data.batch-size does not divide evenly: expected a multiple of "
            f"{distribution.replicas}, the number of replicas, received {batch_size}; give "
            "another number of either."
        )


def shares_of(batches: Any, distribution: Distribution) -> Any:
    """What every replica sees of each global batch: its rows, in order.

    Every process makes the whole batch and keeps its part, so that all of them together see what
    a single process would.

    Raises:
        ConvoyError: the batch cannot be divided evenly.
    """
    if distribution.strategy is None:
        return batches
    replicas, batch_size = distribution.replicas, batches.element_spec[0].shape[0]
    require_even(batch_size, distribution)

    def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count

        def parts(*batch: tf.Tensor) -> tf.data.Dataset:
            rows = [
                tf.reshape(each, (replicas, batch_size // replicas, *each.shape[1:]))
                for each in batch
            ]
            return tf.data.Dataset.from_tensor_slices(
                tuple(each[first : first + count] for each in rows)
            )

        return batches.flat_map(parts).prefetch(2 * count)

    return distribution.strategy.distribute_datasets_from_function(local)


def evaluation_shares(
    examples: Examples, distribution: Distribution, batch_size: int = 500
) -> tuple[Any, int]:
    """All examples once in so many steps, again and again, dealt out to the replicas.

    Every replica gets as many batches as the others, some of them an image smaller.

    Raises:
        ConvoyError: there are fewer examples than replicas.
    """
    replicas = distribution.replicas
    if len(examples) < replicas:
        raise ConvoyError(
            f"too few validation images: expected one for each of {replicas} replicas at least, "
            f"received {len(examples)}; raise --data.validation-fraction."
        )
    steps = max(len(examples) // max(batch_size, replicas), 1)
    edges = np.linspace(0, len(examples), steps * replicas + 1).astype(np.int64)
    images, labels = tf.constant(examples.images), tf.constant(examples.labels)

    def local(context: tf.distribute.InputContext) -> tf.data.Dataset:
        count = replicas // context.num_input_pipelines
        first = context.input_pipeline_id * count
        pieces = np.stack([edges[:-1], edges[1:]], -1).reshape(steps, replicas, 2)
        mine = tf.data.Dataset.from_tensor_slices(pieces[:, first : first + count].reshape(-1, 2))
        rows = mine.map(lambda piece: (images[piece[0] : piece[1]], labels[piece[0] : piece[1]]))
        return rows.repeat().prefetch(2 * count)

    assert distribution.strategy is not None
    return distribution.strategy.distribute_datasets_from_function(local), steps
