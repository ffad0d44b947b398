import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models import kernels
from models.layers import BottleneckBlock, PaddedShortcut, ResidualBlock, ResidualBlock3D
from tests.models import loops
from tests.models.gradients import Steps, assert_equals_paper, distinct

BLOCKS = (ResidualBlock, BottleneckBlock)
SHORTCUTS = ("projection", "convolution", "padding")


def basic_branch(steps, channels, filters, strides):
    """Figure 5 of He et al., on the left: the step stands in the first convolution."""
    return loops.chain(
        steps.conv((3,) * len(strides), channels, filters, strides),
        steps.batch_norm(filters),
        steps.relu,
        steps.conv((3,) * len(strides), filters, filters),
        steps.batch_norm(filters),
    )


def bottleneck_branch(steps, channels, filters, strides):
    """Figure 5 of He et al., on the right; the step stands in the 3x3, as Goyal et al. put it."""
    return loops.chain(
        steps.conv((1, 1), channels, filters),
        steps.batch_norm(filters),
        steps.relu,
        steps.conv((3, 3), filters, filters, strides),
        steps.batch_norm(filters),
        steps.relu,
        steps.conv((1, 1), filters, 4 * filters),
        steps.batch_norm(4 * filters),
    )


def padded_shortcut(channels, filters, strides):
    """Option A of He et al.: skip positions, and append channels of zeros."""

    def step(x):
        y = np.zeros((len(x), *(-(-np.array(x.shape[1:-1]) // strides)), filters))
        kept = (slice(None), *(slice(None, None, step) for step in strides))
        y[..., :channels] = x[kept]

        def gradient(dy):
            dx = np.zeros(x.shape)
            dx[kept] = dy[..., :channels]
            return (dx,)

        return y, gradient

    return step


def shortcut_of(kind, steps, channels, filters, strides):
    """Options A and B of He et al., B with and without its batch norm."""
    if channels == filters and max(strides) == 1:
        return loops.chain()
    if kind == "padding":
        return padded_shortcut(channels, filters, strides)
    if kind == "convolution":
        return steps.conv((1,) * len(strides), channels, filters, strides, bias=True)
    conv = steps.conv((1,) * len(strides), channels, filters, strides)
    return loops.chain(conv, steps.batch_norm(filters))


def residual(kind, shortcut, steps, channels, filters, strides):
    """The last ReLU follows the sum."""
    branch = bottleneck_branch if kind is BottleneckBlock else basic_branch
    whole = branch(steps, channels, filters, strides)
    if shortcut != "none":
        widened = 4 * filters if kind is BottleneckBlock else filters
        whole = loops.total(whole, shortcut_of(shortcut, steps, channels, widened, strides))
    return loops.chain(whole, steps.relu)


@st.composite
def problems(draw):
    """Draw an input of a few positions, and a block that changes its shape or does not."""
    kind = draw(st.sampled_from((*BLOCKS, ResidualBlock3D)))
    filters, changes = draw(st.integers(1, 3)), draw(st.booleans())
    most = 4 * filters if kind is BottleneckBlock else filters
    channels = draw(st.integers(1, most)) if changes else most
    rank, most_size = (3, 3) if kind is ResidualBlock3D else (2, 5)
    strides = draw(st.tuples(*[st.integers(1, 2)] * rank)) if changes else (1,) * rank
    sizes = draw(st.tuples(*[st.integers(1, most_size)] * rank))
    return kind, sizes, channels, filters, strides, draw(st.integers(0, 99))


def check(problem, shortcut, policy="float32"):
    """Hold a block to the recipe of the paper."""
    kind, sizes, channels, filters, strides, seed = problem
    steps = Steps(seed, policy)
    whole = residual(kind, shortcut, steps, channels, filters, strides)
    arguments = {"filters": filters, "strides": strides, "shortcut": shortcut}
    assert_equals_paper(kind, arguments, distinct((2, *sizes, channels), seed), steps, whole)


@pytest.mark.parametrize("shortcut", [*SHORTCUTS, "none"])
@settings(max_examples=15)
@given(problem=problems())
def test_a_block_and_its_gradients_equal_plain_loops(shortcut, problem):
    check(problem, shortcut)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("shortcut", [*SHORTCUTS, "none"])
@settings(max_examples=5)
@given(problem=problems())
def test_in_half_precision_it_stays_near_plain_loops(shortcut, policy, problem):
    check(problem, shortcut, policy)


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


@pytest.mark.parametrize("training", [False, True])
def test_a_padded_shortcut_skips_positions_and_appends_empty_channels(training):
    x = image(channels=2)
    y = np.array(PaddedShortcut(5, strides=(2, 3))(x, training=training))
    np.testing.assert_array_equal(y[..., :2], x[:, ::2, ::3])
    np.testing.assert_array_equal(y[..., 2:], np.zeros((2, 3, 2, 3)))


@pytest.mark.parametrize("strides", [(2,), (1, 1), (2, 3), (7, 1), (2, 1, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_skipping_in_training_gives_the_positions_and_their_gradient_to_the_bit(strides, dtype):
    shape = (2, *(7, 6, 5)[: len(strides)], 3)
    x = tf.cast(np.random.default_rng(0).normal(size=shape), dtype)
    kept = (slice(None), *(slice(None, None, stride) for stride in strides))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = kernels.stepped(x, strides)
    gradient = tape.gradient(y, x, output_gradients=y)
    expected = np.zeros_like(x.numpy())
    expected[kept] = x.numpy()[kept]
    np.testing.assert_array_equal(y, x.numpy()[kept])
    np.testing.assert_array_equal(gradient, expected)


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
