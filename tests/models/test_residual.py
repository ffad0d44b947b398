import numpy as np
import pytest

from models.layers import ResidualBlock


def image(channels=3):
    return np.random.default_rng(0).normal(size=(2, 6, 6, channels)).astype("float32")


def with_zero_branch(block, x):
    """Build the block and set every weight of `F` to zero."""
    block.build(x.shape)
    for layer in (block.conv1, block.norm1, block.conv2, block.norm2):
        for weight in layer.trainable_weights:
            weight.assign(np.zeros(weight.shape))
    return block


@pytest.mark.parametrize("training", [False, True])
def test_a_zero_branch_gives_the_identity(training):
    x = image()
    block = with_zero_branch(ResidualBlock(3, activation="linear"), x)
    np.testing.assert_array_equal(block(x, training=training), x)


def test_relu_follows_the_sum():
    x = image()
    block = with_zero_branch(ResidualBlock(3), x)
    np.testing.assert_array_equal(block(x), np.maximum(x, 0))


def test_the_output_is_the_branch_plus_the_shortcut():
    x = image(channels=2)
    block = ResidualBlock(4, strides=2, activation="linear")
    y = block(x)
    branch = block.norm1(block.conv1(x))
    branch = block.norm2(block.conv2(np.maximum(branch, 0)))
    np.testing.assert_allclose(
        y, branch + block.projection_norm(block.projection(x)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("channels", "strides", "projects"), [(4, 1, False), (3, 1, True), (4, 2, True)]
)
def test_the_shortcut_is_projected_only_where_the_shape_changes(channels, strides, projects):
    block = ResidualBlock(4, strides)
    block.build((None, 6, 6, channels))
    assert (block.projection is not None) == projects


def test_freezing_the_block_freezes_its_statistics():
    x, block = image(), ResidualBlock(3)
    block.build(x.shape)
    block.trainable = False
    block(x, training=True)
    np.testing.assert_array_equal(block.norm1.moving_mean, np.zeros(3))


def test_the_parts_share_the_policy_of_the_block():
    block = ResidualBlock(4, dtype="mixed_bfloat16")
    block.build((None, 6, 6, 3))
    parts = (block.conv1, block.norm1, block.conv2, block.norm2, block.projection)
    assert {part.compute_dtype for part in parts} == {"bfloat16"}


def test_a_bad_argument_is_refused_by_its_name():
    with pytest.raises(ValueError, match="`filters` must be a positive int. Received: filters=0"):
        ResidualBlock(0)
    with pytest.raises(ValueError, match="`strides` must be a tuple of 2 positive ints"):
        ResidualBlock(4, strides=(1, 1, 1))
