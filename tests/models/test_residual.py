import numpy as np
import pytest

from models.layers import BottleneckBlock, PaddedShortcut, ResidualBlock

BLOCKS = (ResidualBlock, BottleneckBlock)
SHORTCUTS = ("projection", "convolution", "padding")


def image(channels=4):
    return np.random.default_rng(0).normal(size=(2, 6, 6, channels)).astype("float32")


def with_zero_branch(block, x):
    """Build the block and set every weight of `F` to zero."""
    block.build(x.shape)
    for layer in branch_of(block):
        for weight in layer.trainable_weights:
            weight.assign(np.zeros(weight.shape))
    return block


def branch_of(block):
    names = ("conv1", "norm1", "conv2", "norm2", "conv3", "norm3")
    return [getattr(block, name) for name in names if hasattr(block, name)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("kind", BLOCKS)
def test_an_empty_branch_gives_the_identity(kind, shortcut, training):
    x, filters = image(), 4 if kind is ResidualBlock else 1
    block = with_zero_branch(kind(filters, activation="linear", shortcut=shortcut), x)
    np.testing.assert_array_equal(block(x, training=training), x)


@pytest.mark.parametrize("kind", BLOCKS)
def test_an_empty_branch_without_shortcut_gives_nothing(kind):
    x = image()
    block = with_zero_branch(kind(4, shortcut="none"), x)
    np.testing.assert_array_equal(block(x), np.zeros(block.compute_output_shape(x.shape)))


@pytest.mark.parametrize("shortcut", SHORTCUTS)
@pytest.mark.parametrize("kind", BLOCKS)
def test_where_the_shape_changes_an_empty_branch_gives_the_shortcut(kind, shortcut):
    x = image(channels=2)
    block = with_zero_branch(kind(4, strides=2, activation="linear", shortcut=shortcut), x)
    expected = block.projection(x)
    if shortcut == "projection":
        expected = block.projection_norm(expected)
    np.testing.assert_array_equal(block(x), expected)
    assert expected.shape == (2, 3, 3, block.channels)


def test_relu_follows_the_sum():
    x = image()
    block = with_zero_branch(ResidualBlock(4), x)
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


def test_a_bottleneck_is_narrow_within_and_four_times_as_wide_at_its_end():
    block = BottleneckBlock(3, strides=2)
    x = image(channels=5)
    y = block(x)
    branch = block.norm1(block.conv1(x))
    branch = block.norm2(block.conv2(np.maximum(branch, 0)))
    branch = block.norm3(block.conv3(np.maximum(branch, 0)))
    expected = np.maximum(branch + block.projection_norm(block.projection(x)), 0)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    shapes = [layer.kernel.shape for layer in (block.conv1, block.conv2, block.conv3)]
    assert shapes == [(1, 1, 5, 3), (3, 3, 3, 3), (1, 1, 3, 12)]


def test_a_bottleneck_of_resnet50_has_the_parameters_of_its_table():
    block = BottleneckBlock(64)
    block.build((None, 56, 56, 256))
    # Table 1 of He et al.: 1x1x64, 3x3x64, 1x1x256; four numbers of batch norm per channel.
    assert block.count_params() == 256 * 64 + 9 * 64 * 64 + 64 * 256 + 4 * (64 + 64 + 256)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(
    ("channels", "strides", "projects"), [(4, 1, False), (3, 1, True), (4, 2, True)]
)
def test_the_shortcut_is_projected_only_where_the_shape_changes(kind, channels, strides, projects):
    block = kind(4 if kind is ResidualBlock else 1, strides)
    block.build((None, 6, 6, channels))
    assert (block.projection is not None) == projects


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("kind", BLOCKS)
def test_freezing_a_block_freezes_its_statistics_before_and_after_it_is_built(kind, early):
    x, block = image(channels=3), kind(4)
    if early:
        block.trainable = False
    block.build(x.shape)
    if not early:
        block.trainable = False
    before = block.get_weights()
    np.testing.assert_array_equal(block(x, training=True), block(x, training=False))
    assert block.trainable_weights == []
    for weight, wanted in zip(block.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, wanted)


def test_a_block_that_is_frozen_from_the_start_makes_frozen_parts():
    x, block = image(channels=3), ResidualBlock(4, trainable=False)
    block(x, training=True)
    assert not any(layer.trainable for layer in (*branch_of(block), block.projection_norm))
    np.testing.assert_array_equal(block.projection_norm.moving_mean, np.zeros(4))


@pytest.mark.parametrize("kind", BLOCKS)
def test_training_reaches_the_batch_norms_inside(kind):
    x, block = image(), kind(4)
    block(x, training=True)
    for layer in branch_of(block):
        if hasattr(layer, "moving_mean"):
            assert np.any(layer.moving_variance != 1)


def test_the_parts_share_the_policy_of_the_block():
    block = ResidualBlock(4, dtype="mixed_bfloat16")
    block.build((None, 6, 6, 3))
    parts = (*branch_of(block), block.projection, block.projection_norm)
    assert {part.compute_dtype for part in parts} == {"bfloat16"}


def test_a_padded_shortcut_skips_positions_and_appends_empty_channels():
    x = image(channels=2)
    y = np.array(PaddedShortcut(5, strides=(2, 3))(x))
    np.testing.assert_array_equal(y[..., :2], x[:, ::2, ::3])
    np.testing.assert_array_equal(y[..., 2:], np.zeros((2, 3, 2, 3)))


def test_a_padded_shortcut_has_no_parameters():
    block = ResidualBlock(8, strides=2, shortcut="padding")
    block.build((None, 6, 6, 4))
    assert block.projection.weights == []


def test_a_padded_shortcut_to_fewer_channels_is_refused():
    with pytest.raises(ValueError, match=r"`filters` must not be less.*Received: filters=2, input"):
        ResidualBlock(2, shortcut="padding")(image(channels=3))


def test_a_bad_argument_is_refused_by_its_name():
    with pytest.raises(ValueError, match="`filters` must be a positive int. Received: filters=0"):
        ResidualBlock(0)
    with pytest.raises(ValueError, match="`strides` must be a tuple of 2 positive ints"):
        ResidualBlock(4, strides=(1, 1, 1))
    with pytest.raises(ValueError, match="`shortcut` must be one of 'projection'.*Did you mean"):
        ResidualBlock(4, shortcut="projektion")
