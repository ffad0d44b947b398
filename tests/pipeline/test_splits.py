import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.splits import Examples, Splits, balanced, carve, check_labels, limit
from serving.errors import ConvoyError

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=60)
SEEDS = st.integers(0, 2**32 - 1)


def numbered(labels):
    """Examples whose only pixel is their number."""
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    return Examples(images, np.array(labels, np.int32))


def numbers(examples):
    return examples.images.ravel().tolist()


def counts(labels):
    return np.unique(labels, return_counts=True)[1]


def some_splits():
    generator = np.random.default_rng(0)
    parts = [
        Examples(
            generator.integers(0, 256, (count, 3, 2, 1), dtype=np.uint8),
            generator.integers(0, 3, count).astype(np.int32),
        )
        for count in (6, 4, 5)
    ]
    return Splits(*parts, labels=("a", "b", "c"))


@settings(deadline=None)
@given(LABELS, st.floats(0.001, 0.999), SEEDS)
def test_carve_loses_and_doubles_nothing_and_keeps_the_order(labels, fraction, seed):
    if max(counts(labels)) < 2:
        return
    rest, carved = carve(numbered(labels), fraction, seed)
    assert sorted(numbers(rest) + numbers(carved)) == list(range(len(labels)))
    for part in (rest, carved):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [labels[number] for number in numbers(part)]


@settings(deadline=None)
@given(LABELS, st.floats(0.001, 0.999), SEEDS)
def test_carve_gives_both_parts_some_of_every_class_that_has_two(labels, fraction, seed):
    classes = {label for label in labels if labels.count(label) > 1}
    if not classes:
        return
    for part in carve(numbered(labels), fraction, seed):
        assert classes <= set(part.labels.tolist())


@settings(deadline=None)
@given(st.integers(2, 200), st.floats(0.05, 0.95), SEEDS)
def test_carve_takes_the_fraction_to_the_nearest_image_that_empties_no_part(count, fraction, seed):
    _, carved = carve(numbered([0] * count), fraction, seed)
    assert abs(len(carved) - np.clip(count * fraction, 1, count - 1)) <= 0.5


def test_carve_keeps_a_class_of_one_image_for_the_rest():
    rest, carved = carve(numbered([0, 0, 0, 7]), 0.9, seed=0)
    assert 7 in rest.labels
    assert 7 not in carved.labels


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 2]])
def test_carve_refuses_to_leave_a_part_empty(labels):
    with pytest.raises(ConvoyError, match=f"at least 2 in a class, received {len(labels)} in all"):
        carve(numbered(labels), 0.5, seed=0)


@settings(deadline=None)
@given(LABELS, SEEDS)
def test_carve_depends_on_nothing_but_its_seed(labels, seed):
    if max(counts(labels)) < 2:
        return
    first, second = (carve(numbered(labels), 0.3, seed)[1] for _ in range(2))
    assert numbers(first) == numbers(second)


def test_carve_chooses_others_with_another_seed():
    chosen = {tuple(numbers(carve(numbered([0] * 100), 0.3, seed)[1])) for seed in range(5)}
    assert len(chosen) == 5


@settings(deadline=None)
@given(LABELS, st.integers(0, 70), SEEDS)
def test_balanced_spreads_evenly_until_a_class_is_exhausted(labels, count, seed):
    chosen = balanced(numbered(labels), count, seed)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, len(labels))
    taken = {label: 0 for label in labels}
    for position in chosen:
        taken[labels[position]] += 1
    most = max(taken.values())
    for label, number in taken.items():
        assert number >= most - 1 or number == labels.count(label)


def test_balanced_depends_on_nothing_but_its_seed():
    examples = numbered([0, 1, 2] * 20)
    first, again, other = (balanced(examples, 30, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


@settings(deadline=None)
@given(LABELS, st.integers(1, 80), SEEDS)
def test_limit_takes_at_most_so_many_in_their_old_order(labels, most, seed):
    examples = numbered(labels)
    limited = limit(examples, most, seed)
    assert len(limited) == min(most, len(labels))
    assert numbers(limited) == sorted(set(numbers(limited)))
    assert limited.labels.tolist() == [labels[number] for number in numbers(limited)]
    assert numbers(limit(examples, most, seed)) == numbers(limited)


def test_limit_of_none_changes_nothing():
    examples = numbered([0, 1])
    assert limit(examples, None, seed=0) is examples


@pytest.mark.parametrize("wrong", [-1, 3, 255])
def test_a_label_that_names_no_class_is_refused_with_its_place(wrong):
    message = f"label out of range in `pets`: expected 0 to 2, received {wrong} at image 2; mend"
    with pytest.raises(ConvoyError, match=message):
        check_labels(numbered([0, 2, wrong, 1, wrong]), 3, "pets")


def test_labels_that_name_classes_pass():
    check_labels(numbered([0, 1, 2]), 3, "pets")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("kind", ["images", "labels"])
def test_the_fingerprint_changes_with_any_one_pixel_or_label(split, kind):
    splits = some_splits()
    values = getattr(getattr(splits, split), kind)
    seen = {splits.fingerprint}
    for position in np.ndindex(values.shape):
        values[position] += 1
        seen.add(splits.fingerprint)
        values[position] -= 1
    assert len(seen) == 1 + values.size


def test_equal_data_have_equal_fingerprints():
    assert some_splits().fingerprint == some_splits().fingerprint


def test_the_image_shape_is_height_width_channels():
    assert some_splits().image_shape == (3, 2, 1)
