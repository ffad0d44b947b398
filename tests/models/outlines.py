"""Networks of the size of their papers, without the memory: variables that have no values."""

import math

import models
from models.outlines import without_values


def outline(name, input_shape, num_classes, **options):
    """Build a network whose weights have shapes alone."""
    with without_values():
        return models.build(name, input_shape, num_classes, **options)


def trainable_count(model):
    """Number of trainable parameters: what papers count, without batch norm's statistics."""
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def output_shapes(model, names):
    """Shape without the batch of what each of the layers answers."""
    return [model.get_layer(name).output.shape[1:] for name in names]
