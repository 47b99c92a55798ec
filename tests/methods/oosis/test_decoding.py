"""From maps to instances, without a network; one cycle of expansions; deferred results."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest

from occ_order.crf import energy
from occ_order.crf.expansion import expand
from occ_order.engine.overlap import OverlappingEvaluators
from occ_order.methods.oosis.decoding import Decoder, strongest_within
from occ_order.methods.oosis.deferred import DeferredOutput, Workers
from occ_order.metrics import weighted_coverage
from occ_order.order import relative_depth
from occ_order.targets import oriented_boundary


def two_rectangles():
    """Ids (24, 32) of an instance 1 in front of 2, and the maps a perfect network would give."""
    ids = np.zeros((24, 32), np.int32)
    ids[8:20, 12:28] = 2
    ids[4:14, 4:18] = 1
    occlusion = np.array([[0, 1], [0, 0]])
    boundary, orientation = oriented_boundary(ids, occlusion)
    semantic = np.stack([np.where(ids > 0, 0.05, 0.95), np.where(ids > 0, 0.95, 0.05)])
    return ids, semantic, orientation, boundary.astype(np.float64)


@pytest.mark.parametrize("decoder", ["crf", "classes"])
@pytest.mark.parametrize("nms", ["axis", "edge"])
def test_every_decoder_finds_two_rectangles_and_their_order(decoder, nms):
    ids, semantic, orientation, boundary = two_rectangles()
    depth = relative_depth(np.array([[0, 1], [0, 0]]))
    order = (np.arange(3)[:, None, None] == np.concatenate([[0], depth])[ids]).astype(float)
    labels, found = Decoder(decoder=decoder, nms=nms)(semantic, orientation, boundary, order)
    assert np.array_equal(labels, np.array([0, 2, 1])[ids])
    assert found.relative_depth.tolist() == [1, 2]
    assert found.occlusion.tolist() == [[0, 0], [1, 0]]
    assert found.classes.tolist() == [0, 0]
    truth = ids[None] == np.array([1, 2])[:, None, None]
    assert weighted_coverage(truth, found.masks) == 1
    assert (found.scores > 0).all()


def test_one_cycle_of_expansions_ends_above_the_jumps():
    _, semantic, orientation, boundary = two_rectangles()
    _, occludes = Decoder().oriented(boundary, orientation)
    expansions, jumps = (
        Decoder(decoder=name).labels(semantic[0], occludes) for name in ("expansion", "crf")
    )
    assert jumps.energies[-1] < expansions.energies[-1] < expansions.energies[0]
    assert (expansions.labels[semantic[0] < 0.5] > 0).any()


def test_a_blurred_boundary_is_thinned_before_the_crf():
    _ids, _semantic, orientation, boundary = two_rectangles()
    blurred = boundary * 0.8
    for shift in (-1, 1):
        for axis in (0, 1):
            blurred = np.maximum(blurred, 0.4 * np.roll(boundary, shift, axis))
    thin, occludes = Decoder().oriented(blurred, np.maximum(orientation, 0.2 / 4))
    assert thin.shape == boundary.shape
    # Without thinning, pixels beside the boundary would pass the threshold as well.
    assert (Decoder(threshold=0.1).oriented(boundary, orientation)[1] == occludes).mean() > 0.97


def test_only_the_strongest_of_neighbouring_lines_is_kept():
    oriented = np.zeros((4, 5, 9))
    oriented[0, :, [2, 4, 8]] = np.array([0.5, 0.9, 0.3])[:, None]
    oriented[3, [1, 4]] = np.array([0.2, 0.4])[:, None]
    assert np.array_equal(strongest_within(oriented, 1), oriented)
    kept = strongest_within(oriented, 2)
    assert kept[0].any(0).nonzero()[0].tolist() == [4, 8]
    assert kept[3].any(1).nonzero()[0].tolist() == [1, 4]
    assert strongest_within(oriented, 3)[3].any(1).nonzero()[0].tolist() == [4]
    with pytest.raises(ValueError, match="radius: got 0, expected 1 or more"):
        strongest_within(oriented, 0)


def test_classes_without_order_labels_and_unknown_names_are_refused():
    _, semantic, orientation, boundary = two_rectangles()
    with pytest.raises(ValueError, match="needs the network's order labels"):
        Decoder(decoder="classes")(semantic, orientation, boundary)
    with pytest.raises(ValueError, match="decoder: got 'icm', expected one of"):
        Decoder(decoder="icm")
    with pytest.raises(ValueError, match="nms: got 'none', expected one of"):
        Decoder(nms="none")


def best_expansion(labels, label, background, occludes):
    """Lowest energy over all ways to give some pixels ``label``."""
    choices = itertools.product([False, True], repeat=labels.size)
    moved = (
        np.where(np.reshape(choice, labels.shape), label, labels).astype(np.int32)
        for choice in choices
    )
    return min(energy(candidate, background, occludes) for candidate in moved)


@pytest.mark.parametrize("seed", range(6))
def test_each_expansion_is_the_best_one(seed):
    rng = np.random.default_rng(seed)
    background = rng.integers(0, 9, (3, 3)) / 8
    ids = rng.integers(0, 3, (3, 3))
    boundary, orientation = oriented_boundary(ids, np.array([[0, 1], [0, 0]]))
    occludes = (orientation > 0) & boundary
    labels = np.zeros((3, 3), np.int32)
    for label in (1, 2, 3):
        best = best_expansion(labels, label, background, occludes)
        result = expand(background, occludes, max_label=label)
        assert result.energies[-1] == pytest.approx(best, abs=1e-6)
        assert energy(result.labels, background, occludes) == pytest.approx(best, abs=1e-6)
        labels = result.labels


def test_no_expansion_leaves_the_background():
    result = expand(np.zeros((2, 2)), np.zeros((4, 2, 2), bool), max_label=0)
    assert (result.labels == 0).all() and result.converged and result.num_jumps == 0
    with pytest.raises(ValueError, match="max_label: got -1"):
        expand(np.zeros((2, 2)), np.zeros((4, 2, 2), bool), max_label=-1)


# --- results in the background


def test_a_deferred_output_is_the_dictionary_once_it_is_there():
    future: Future = Future()
    output = DeferredOutput(future)
    assert not output.done()
    future.set_result({"instances": 3, "sem_seg": 4})
    assert output.done() and output["instances"] == 3 and "sem_seg" in output
    assert dict(output) == {"instances": 3, "sem_seg": 4} and len(output) == 2
    output["more"] = 5
    assert output["more"] == 5
    del output["more"]
    assert "more" not in output


def test_a_failure_in_the_background_is_raised_where_one_looks():
    def fail():
        raise ValueError("image 7 is damaged")

    output = Workers(1).run(fail)
    with pytest.raises(ValueError, match="image 7 is damaged"):
        output["instances"]


def test_without_workers_the_result_is_there_at_once():
    assert Workers(0).run(dict, {"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="got -1, expected 0 or more"):
        Workers(-1)


def test_workers_can_be_copied_with_the_model():
    workers = Workers(1)
    assert workers.run(dict)._future.result() == {}
    twin = copy.deepcopy(workers)
    assert twin.run(dict, {"a": 1})["a"] == 1


class Recorder:
    """An evaluator that notes what it is given, and when."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def reset(self) -> None:
        """Forgets."""
        self.seen = []

    def process(self, inputs, outputs) -> None:
        """Looks into every result."""
        self.seen += [output["value"] for output in outputs]

    def evaluate(self) -> dict:
        """Everything seen."""
        return {"seen": {"values": list(self.seen)}}


def test_evaluators_get_deferred_results_in_order_but_later():
    release = threading.Event()
    workers, recorder = Workers(2), Recorder()

    def slow(value):
        release.wait(5)
        return {"value": value}

    evaluators = OverlappingEvaluators([recorder], ahead=3)
    for value in range(3):
        evaluators.process([{}], [workers.run(slow, value)])
    assert recorder.seen == []  # the loop went on although nothing was finished
    release.set()
    deadline = time.monotonic() + 5
    while not recorder.seen and time.monotonic() < deadline:
        evaluators.process([{}], [{"value": 9}])
    assert evaluators.evaluate()["seen"]["values"][:4] == [0, 1, 2, 9]
    evaluators.reset()
    assert evaluators.evaluate()["seen"]["values"] == []


def test_evaluators_wait_when_too_many_results_are_pending():
    recorder = Recorder()
    evaluators = OverlappingEvaluators([recorder], ahead=1)
    futures = [Future(), Future()]
    evaluators.process([{}], [DeferredOutput(futures[0])])
    futures[0].set_result({"value": 0})
    evaluators.process([{}], [DeferredOutput(futures[1])])
    assert recorder.seen == [0]
    futures[1].set_result({"value": 1})
    assert evaluators.evaluate()["seen"]["values"] == [0, 1]


def test_plain_results_are_handed_over_at_once():
    recorder = Recorder()
    evaluators = OverlappingEvaluators([recorder])
    evaluators.process([{}], [{"value": 1}])
    assert recorder.seen == [1]
