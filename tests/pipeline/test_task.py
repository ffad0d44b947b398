import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.recipe import Training
from pipeline.task import Classification, CrossEntropy
from serving.errors import ConvoyError

LABELS = ("ant", "bee", "cat", "dog")
TASK = Classification(LABELS)
SEEDS = st.integers(0, 2**32 - 1)


def smoothed(label_smoothing, **training):
    labels = np.arange(len(LABELS))
    return TASK.loss(Training(label_smoothing=label_smoothing, **training), labels)


def answers(seed, count=30):
    """Probabilities of two routes, and labels."""
    generator = np.random.default_rng(seed)
    routes = generator.dirichlet(np.ones(len(LABELS)), size=(2, count)).astype("float32")
    return (*routes, generator.integers(0, len(LABELS), count).astype("int32"))


def logits_and_labels(seed, count=7):
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=5, size=(count, len(LABELS))).astype("float32")
    return logits, generator.integers(0, len(LABELS), count).astype("int32")


def loop_cross_entropy(logits, labels, smoothing):
    """Mean of -sum(target * log(probability)), in float64, example by example."""
    losses = []
    for row, label in zip(logits.astype("float64"), labels, strict=True):
        log_probabilities = row - row.max() - np.log(np.exp(row - row.max()).sum())
        target = np.full(len(row), smoothing / len(row))
        target[label] += 1 - smoothing
        losses.append(-(target * log_probabilities).sum())
    return np.mean(losses)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0, 0.99))
def test_the_loss_is_smoothed_cross_entropy(seed, smoothing):
    logits, labels = logits_and_labels(seed)
    expected = loop_cross_entropy(logits, labels, smoothing)
    assert float(smoothed(smoothing)(labels, logits)) == pytest.approx(expected, rel=1e-4)


def test_the_loss_without_smoothing_is_that_of_keras():
    logits, labels = logits_and_labels(0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    assert float(smoothed(0.0)(labels, logits)) == pytest.approx(float(expected), rel=1e-6)


def test_the_loss_of_a_confident_right_answer_is_its_hand_computed_value():
    # Smoothed targets 0.925 and three times 0.025; log-probabilities 0 and three times -100.
    logits = np.array([[100, 0, 0, 0]], "float32")
    assert float(smoothed(0.1)(np.array([0]), logits)) == pytest.approx(7.5, rel=1e-5)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0, 0.99))
def test_the_quadratic_loss_is_half_the_squared_distance(seed, smoothing):
    logits, labels = logits_and_labels(seed)
    losses = []
    for row, label in zip(logits.astype("float64"), labels, strict=True):
        probabilities = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        target = [(1 - smoothing) * (k == label) + smoothing / len(row) for k in range(len(row))]
        losses.append(sum((p - t) ** 2 for p, t in zip(probabilities, target, strict=True)) / 2)
    loss = smoothed(smoothing, loss="quadratic")
    assert float(loss(labels, logits)) == pytest.approx(np.mean(losses), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["cross_entropy", "quadratic"])
def test_shares_of_one_class_weigh_as_its_label_does(kind):
    logits, labels = logits_and_labels(0)
    shares = np.eye(len(LABELS), dtype="float32")[labels]
    loss = smoothed(0.1, loss=kind, class_weights=(1.0, 2.0, 3.0, 4.0))
    assert float(loss(shares, logits)) == pytest.approx(float(loss(labels, logits)), rel=1e-6)


def test_the_cross_entropy_of_a_mixture_is_the_mixture_of_cross_entropies():
    logits, labels = logits_and_labels(0)
    other, eye = labels[::-1], np.eye(len(LABELS), dtype="float32")
    mixed = float(smoothed(0.0)(0.3 * eye[labels] + 0.7 * eye[other], logits))
    apart = [float(smoothed(0.0)(each, logits)) for each in (labels, other)]
    assert mixed == pytest.approx(0.3 * apart[0] + 0.7 * apart[1], rel=1e-5)


def test_a_class_counts_by_its_weight():
    logits, labels = logits_and_labels(4, count=40)
    weights = (0.5, 2.0, 0.0, 1.5)
    expected = np.mean(
        [
            weights[label] * loop_cross_entropy(row[None], [label], 0.1)
            for row, label in zip(logits, labels, strict=True)
        ]
    )
    loss = smoothed(0.1, class_weights=weights)
    assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-4)


def test_balanced_classes_weigh_the_same_together_and_one_on_average():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 4 + [3])
    loss = TASK.loss(Training(class_weights="balanced"), labels)
    weights = np.array(loss.class_weights)
    np.testing.assert_allclose(weights * np.bincount(labels), 5)
    assert weights[labels].mean() == pytest.approx(1)


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_class_weights_that_weigh_nothing_sensible_are_refused(wrong):
    with pytest.raises(ConvoyError, match="--training.class-weights are out of range"):
        smoothed(0.0, class_weights=(1.0, 1.0, 1.0, wrong))


def test_class_weights_for_other_classes_are_refused():
    with pytest.raises(ConvoyError, match="expected 4 numbers, one for each class, received 2"):
        smoothed(0.0, class_weights=(1.0, 2.0))


def test_an_answer_is_right_where_its_highest_logit_is_that_of_the_label_or_largest_share():
    metric = TASK.metrics()[0]
    logits = np.array([[1, 5, 2, 0], [9, 0, 0, 0], [0, 0, 1, 2]], "float32")
    metric.update_state(np.array([1, 2, 3]), logits)
    shares = np.array([[0.4, 0.6, 0, 0], [0.3, 0, 0.7, 0], [0, 0.2, 0.2, 0.6]], "float32")
    assert float(metric.result()) == pytest.approx(2 / 3)
    metric.update_state(shares, logits)
    assert float(metric.result()) == pytest.approx(4 / 6)


def test_the_loss_survives_serialization():
    loss = smoothed(0.2)
    restored = keras.losses.deserialize(keras.losses.serialize(loss))
    assert isinstance(restored, CrossEntropy)
    assert restored.get_config() == loss.get_config()
    logits, labels = logits_and_labels(1)
    assert float(restored(labels, logits)) == float(loss(labels, logits))


def test_a_compiled_network_reloads_with_its_loss(tmp_path):
    image = keras.Input((len(LABELS),), name="image")
    logits = keras.layers.Dense(len(LABELS), name="logits")(image)
    network = keras.Model(image, {"logits": logits})
    network.compile("sgd", loss={"logits": smoothed(0.2)}, metrics={"logits": TASK.metrics()})
    images, labels = logits_and_labels(2)
    network.evaluate(images, {"logits": labels}, verbose=0)
    network.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    first, second = (
        each.evaluate(images, {"logits": labels}, verbose=0, return_dict=True)
        for each in (network, reloaded)
    )
    assert first == second
    assert TASK.metric in {key.removeprefix("logits_") for key in first}


@settings(deadline=None)
@given(SEEDS)
def test_score_counts_right_answers(seed):
    probabilities, _, labels = answers(seed)
    right = [
        max(range(len(LABELS)), key=row.__getitem__) == label
        for row, label in zip(probabilities, labels, strict=True)
    ]
    assert TASK.score(probabilities, labels) == pytest.approx(sum(right) / len(right))


@settings(deadline=None)
@given(SEEDS)
def test_agreement_counts_equal_answers_whichever_comes_first(seed):
    one, other, _ = answers(seed)
    pairs = zip(one, other, strict=True)
    same = [list(a).index(max(a)) == list(b).index(max(b)) for a, b in pairs]
    assert TASK.agreement(one, other) == pytest.approx(sum(same) / len(same))
    assert TASK.agreement(other, one) == TASK.agreement(one, other)
    assert TASK.agreement(one, one) == 1


@settings(deadline=None)
@given(SEEDS, st.integers(1, 30))
def test_the_worst_class_drop_is_the_largest_loss_of_accuracy_in_a_class(seed, count):
    probabilities, reference, labels = answers(seed, count)
    drops = {}
    for index, label in enumerate(LABELS):
        members = labels == index
        if members.any():
            drops[label] = TASK.score(reference[members], labels[members]) - TASK.score(
                probabilities[members], labels[members]
            )
    worst, drop = TASK.worst_class_drop(probabilities, reference, labels)
    assert drop == pytest.approx(max(drops.values()))
    assert drops[worst] == pytest.approx(drop)


def test_differences_are_those_of_single_probabilities():
    reference = np.array([[0.5, 0.5], [0.9, 0.1]])
    assert TASK.differences(reference + [[0.1, -0.1], [0.0, 0.04]], reference) == pytest.approx(
        (0.06, 0.1)
    )
    assert TASK.differences(np.array([[np.nan, 0.5], [0.9, 0.1]]), reference)[1] == 1.0


def test_an_answer_that_is_no_number_is_neither_right_nor_agreed_with():
    reference = np.eye(4, dtype="float32")[[0, 1, 2]]
    broken = reference.copy()
    broken[0, 3] = np.nan
    labels = np.array([0, 1, 2])
    assert TASK.score(broken, labels) == pytest.approx(2 / 3)
    assert TASK.agreement(broken, reference) == pytest.approx(2 / 3)
    assert TASK.agreement(broken, broken) == pytest.approx(2 / 3)
    assert TASK.worst_class_drop(broken, reference, labels) == ("ant", 1.0)


def test_a_class_that_gains_while_the_others_stay_has_no_drop():
    reference = np.eye(4, dtype="float32")[[0, 1, 1]]
    better = np.eye(4, dtype="float32")[[0, 1, 2]]
    assert TASK.worst_class_drop(better, reference, np.array([0, 1, 2])) == ("ant", 0.0)


def test_what_an_exported_file_answers_sums_to_one():
    logits, _ = logits_and_labels(3)
    probabilities = np.array(TASK.activate(logits))
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-6)
