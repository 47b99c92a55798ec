"""The panels of one image: each where its data are there, and what it says."""

import numpy as np
import pytest

from occ_order.draw import panels
from occ_order.draw.colors import UNKNOWN_COLOR, depth_colors, instance_colors
from occ_order.draw.image_panels import (
    LONG_SIDE,
    MOST_ARROWS,
    direct_arrows,
    labels_of,
    shrunk,
)
from occ_order.draw.sheets import sheet
from occ_order.draw.verdicts import name_after
from occ_order.instances import OrderedInstances
from occ_order.order import nearness
from occ_order.panels import PANELS
from occ_order.scenes import generate

SIZE = (64, 80)


@pytest.fixture(scope="module")
def scene():
    return generate(0, size=SIZE, num_instances=4)


def everything(scene):
    return OrderedInstances(
        1,
        SIZE,
        scene.modal,
        amodal=scene.amodal,
        occlusion=scene.occlusion,
        depth=scene.depth,
        overlap=scene.overlap,
        sem_dist=scene.amodal.astype(np.float32) * 0.9,
        names=("a", "b", "c", "d"),
    )


def columns(*bounds, size=(20, 40)):
    masks = np.zeros((len(bounds), *size), bool)
    for mask, (start, stop) in zip(masks, bounds, strict=True):
        mask[:, start:stop] = True
    return masks


def grey(size=(20, 40)):
    return np.full((*size, 3), 128, np.uint8)


def test_every_panel_is_drawn_where_its_data_are_there(scene):
    result = everything(scene)
    parts = panels(result, scene.image, result)
    assert tuple(parts) == PANELS
    for heading, drawn, alt in parts.values():
        assert heading and alt.endswith(".")
        assert drawn.dtype == np.uint8 and drawn.ndim == 3 and drawn.std() > 5


def test_what_is_not_there_is_left_out(scene):
    masks_alone = OrderedInstances(1, SIZE, scene.modal)
    assert tuple(panels(masks_alone, scene.image, masks_alone)) == ("image", "overlay")
    assert tuple(panels(everything(scene), scene.image, kinds=["overlay"])) == ("overlay",)
    depth_alone = OrderedInstances(1, SIZE, scene.modal, depth=scene.depth)
    assert set(panels(depth_alone, scene.image)) == {
        "image", "overlay", "depth_graph", "relative_depth", "layers",
    }  # fmt: skip


def test_pairs_that_are_not_known_are_told_from_those_without_relation():
    masks = columns((0, 10), (10, 20), (20, 30))
    occlusion = np.array([[0, 1, -1], [0, 0, -1], [-1, 0, 0]], np.int8)
    known = OrderedInstances(1, (20, 40), masks, occlusion=np.maximum(occlusion, 0))
    partly = OrderedInstances(1, (20, 40), masks, occlusion=occlusion)
    for result, heading in (
        (known, "graph of occlusion"),
        (partly, "graph of occlusion (2 pairs not known)"),
    ):
        drawn = panels(result, grey(), kinds=["occlusion_graph"])
        assert drawn["occlusion_graph"].heading == heading


def color_at(panel, column, result):
    """RGB in the middle of a column of the image, away from labels and outlines."""
    scale = panel.image.shape[1] // result.size[1]
    return tuple(panel.image[3 * scale, column * scale + scale // 2].tolist())


def test_relative_depth_is_grey_where_nothing_is_known():
    """0 occludes 1, and 2 has no relation: near, far, grey; the rest is background."""
    masks = columns((0, 10), (10, 20), (20, 30))
    occlusion = np.zeros((3, 3), np.int8)
    occlusion[0, 1] = 1
    result = OrderedInstances(1, (20, 40), masks, occlusion=occlusion)
    panel = panels(result, grey(), kinds=["relative_depth"])["relative_depth"]
    near, far = (tuple(color.tolist()) for color in depth_colors(2))
    assert color_at(panel, 5, result) == near and color_at(panel, 15, result) == far
    assert color_at(panel, 25, result) == UNKNOWN_COLOR != color_at(panel, 35, result)


def test_relative_depth_takes_the_depth_order_where_occlusion_says_nothing():
    """Nobody occludes anybody; 2 is closest, then 0, then 1."""
    masks = columns((0, 10), (10, 20), (20, 30))
    place = np.array([1, 0, 2])
    depth = (place[:, None] > place[None, :]).astype(np.int8)
    np.fill_diagonal(depth, -1)
    result = OrderedInstances(1, (20, 40), masks, occlusion=np.zeros((3, 3), np.int8), depth=depth)
    panel = panels(result, grey(), kinds=["relative_depth"])["relative_depth"]
    colors = [tuple(color.tolist()) for color in depth_colors(3)[[1, 2, 0]]]
    assert [color_at(panel, column, result) for column in (5, 15, 25)] == colors


def test_relative_depth_is_that_of_the_results_file(scene):
    """Without an order of depth, places are in the order of "relative_depth" in the JSON."""
    result = OrderedInstances(1, SIZE, scene.modal, occlusion=scene.occlusion)
    said = np.array([one["relative_depth"] for one in result.to_dict()["instances"]])
    place, known = nearness(result.occlusion)
    assert known.any()
    assert (np.sign(place[known][:, None] - place[known]) == np.sign(
        said[known][:, None] - said[known])).all()  # fmt: skip


def test_an_image_without_instances():
    nobody = OrderedInstances(
        1,
        SIZE,
        np.zeros((0, *SIZE), bool),
        amodal=np.zeros((0, *SIZE), bool),
        occlusion=np.zeros((0, 0), np.int8),
        depth=np.zeros((0, 0), np.int8),
    )
    parts = panels(nobody, grey(SIZE), nobody)
    assert set(parts) == set(PANELS) - {"amodal", "levels"}
    assert sheet(parts, title="none").shape[2] == 3


def test_an_image_of_another_size_is_refused(scene):
    with pytest.raises(ValueError, match=r"image 1: .* the image has \(64, 79\)"):
        panels(everything(scene), scene.image[:, :79])
    other = OrderedInstances(1, (64, 79), scene.modal[:, :, :79])
    with pytest.raises(ValueError, match="image 1: the annotation has height and width"):
        panels(everything(scene), scene.image, other)


def test_a_large_photograph_is_shrunk_so_that_numbers_can_be_read():
    masks = columns((0, 1000), (1000, 2000), size=(500, 2000))
    result = OrderedInstances(
        7, (500, 2000), masks, amodal=masks, occlusion=np.array([[0, 1], [0, 0]], np.int8)
    )
    photo, small = shrunk(grey((500, 2000)), result)
    assert photo.shape == (320, 2 * LONG_SIDE, 3) and small.size == (320, 1280)
    assert small.modal.shape == small.amodal.shape == (2, 320, 1280)
    assert small.modal.any(1)[0].tolist() == [True] * 640 + [False] * 640
    assert panels(result, grey((500, 2000)))["overlay"].image.shape == photo.shape
    nobody = OrderedInstances(7, (500, 2000), masks[:0])
    assert shrunk(grey((500, 2000)), nobody)[1].modal.shape == (0, 320, 1280)


def test_instances_bear_the_ids_of_the_user_where_these_are_short():
    masks = columns((0, 10), (10, 20))
    short = OrderedInstances(1, (20, 40), masks, ids=(10, 20), names=("cup", "plate"))
    assert labels_of(short) == (["10", "20"], ["cup", "plate"])
    long = OrderedInstances(1, (20, 40), masks, ids=(17689, 2), names=("cup", "plate"))
    assert labels_of(long) == (["1", "2"], ["cup 17689", "plate 2"])
    assert labels_of(OrderedInstances(1, (20, 40), masks)) == (["1", "2"], None)


def test_compared_with_annotation_instances_are_named_after_it():
    """Annotated 1 is found whole, 2 in two pieces, and something where there is nothing."""
    truth = columns((0, 10), (10, 30))
    found = columns((10, 26), (0, 10), (26, 30), (35, 40))
    named = name_after(["1", "2"], ["cup", "plate"], truth, found)
    assert named.labels == ["2", "1", "2b", "?"]
    assert named.names == ["plate", "cup", "plate", "nothing"]
    assert named.colors[:3].tolist() == instance_colors(2)[[1, 0, 1]].tolist()
    assert name_after(["1", "2"], None, truth, found).names is None
    assert name_after([], None, truth[:0], found).labels == ["?"] * 4


def test_direct_arrows_leave_out_what_a_longer_way_says():
    chain = np.triu(np.ones((4, 4), bool), 1)
    assert direct_arrows(chain).tolist() == np.eye(4, k=1, dtype=int).tolist()
    ring = np.array([[0, 1, 0, 1], [0, 0, 1, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert direct_arrows(ring).tolist() == ring.astype(int).tolist()  # 0, 1, 2 keep all of theirs
    assert direct_arrows(np.zeros((0, 0), bool)).shape == (0, 0)


def test_a_tower_is_folded_and_says_so():
    """15 in a stack, each over all below it: 105 arrows, of which 14 are no detour."""
    masks = columns(*((k, k + 1) for k in range(15)))
    result = OrderedInstances(1, (20, 40), masks, occlusion=np.triu(np.ones((15, 15), np.int8), 1))
    assert result.occlusion.sum() > MOST_ARROWS
    panel = panels(result, grey(), kinds=["occlusion_graph"])["occlusion_graph"]
    assert panel.heading == "graph of occlusion (91 arrows beside longer ways left out)"
    assert panel.alt.startswith("14 arrows")
    assert panel.image.shape[1] < 600 < panel.image.shape[0]


def test_layers_show_hidden_parts_and_fold_when_there_are_many():
    masks = columns(*((k, k + 1) for k in range(20)))
    occlusion = np.eye(20, k=1, dtype=np.int8)
    tower = OrderedInstances(1, (20, 40), masks, occlusion=occlusion)
    whole = tower.replace(amodal=masks | np.roll(masks, 1, axis=2))
    seen, completed = (
        panels(one, grey(), kinds=["layers"])["layers"].image for one in (tower, whole)
    )
    assert seen.shape == completed.shape and (seen != completed).any()
    one = panels(tower[:1], grey(), kinds=["layers"])["layers"].image
    assert one.shape[0] < seen.shape[0] < 20 * one.shape[0]
