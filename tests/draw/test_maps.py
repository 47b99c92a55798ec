"""Boundaries, instances, classes and depth: known colours at known pixels."""

from __future__ import annotations

import numpy as np
import pytest

from occ_order.draw import boundaries, colors, maps
from occ_order.draw.canvas import PAPER
from occ_order.targets import oriented_boundary
from occ_order.targets.oriented_boundary import DIRECTIONS

LEFT, RIGHT, TOP, BOTTOM = colors.DIRECTION_COLORS.astype(int)


def square() -> tuple[np.ndarray, np.ndarray]:
    """One 3 x 3 instance in a 7 x 7 image: its mask (1, 7, 7) and its boundary (4, 7, 7)."""
    ids = np.zeros((7, 7), np.int32)
    ids[2:5, 2:5] = 1
    _, orientation = oriented_boundary(ids, np.zeros((1, 1), np.int8))
    return ids[None] == 1, orientation


def test_the_sides_of_a_square_have_the_colours_of_their_directions():
    drawing = boundaries.draw_oriented_boundary(square()[1], thickness=1)
    assert drawing.shape == (7, 7, 3)
    sides = {(3, 2): LEFT, (3, 4): RIGHT, (2, 3): TOP, (4, 3): BOTTOM}
    for (y, x), color in sides.items():
        assert drawing[y, x].tolist() == color.tolist()
    corner = np.rint((LEFT + TOP) / 2)
    assert np.abs(drawing[2, 2] - corner).max() <= 1
    assert drawing[3, 3].tolist() == list(PAPER), "the inside is no boundary"
    assert drawing[0, 0].tolist() == list(PAPER)


def test_boundary_weights_mix_in_proportion():
    weights = np.zeros((4, 1, 1))
    weights[[0, 2], 0, 0] = 0.6, 0.2
    mixed = colors.blend_directions(weights)[0, 0].astype(int)
    assert np.abs(mixed - (0.75 * LEFT + 0.25 * TOP)).max() <= 1
    assert colors.blend_directions(np.zeros((4, 1, 1)))[0, 0].tolist() == [255, 255, 255]


def test_thick_lines_keep_the_nearest_colour():
    weights = np.zeros((4, 9, 21), bool)
    weights[0, :, 5], weights[1, :, 15] = True, True
    drawing = boundaries.draw_oriented_boundary(weights, thickness=3)
    assert (drawing[4, 4:7] == LEFT).all() and (drawing[4, 14:17] == RIGHT).all()
    assert (drawing[4, 10] == 255).all()


def test_boundary_over_a_photograph_fades_it_and_doubles_in_size():
    image = np.full((7, 7, 3), (0, 0, 255), np.uint8)
    drawing = boundaries.draw_oriented_boundary(square()[1], image, scale=2)
    assert drawing.shape == (14, 14, 3)
    far = drawing[0, 0].astype(int)
    assert far.min() > 180 and np.ptp(far) == 0


def test_colours_of_the_oosis_paper():
    """OOSIS, Fig. 4: left cyan, top yellow, right magenta, bottom black."""
    colours = {"left": (0, 255, 255), "top": (255, 255, 0), "right": (255, 0, 255)}
    for name, colour in {**colours, "bottom": (0, 0, 0)}.items():
        occludes = np.zeros((4, 5, 5), bool)
        occludes[list(DIRECTIONS).index(name), 2, 2] = True
        drawing = boundaries.draw_oriented_boundary(occludes, palette="oosis", thickness=1)
        assert drawing[2, 2].tolist() == list(colour)
    with pytest.raises(ValueError, match="palette must be one of"):
        boundaries.draw_oriented_boundary(occludes, palette="other")


def test_boundary_legend_stands_beside_and_shows_all_four_colours():
    drawing = boundaries.draw_oriented_boundary(np.zeros((4, 200, 100)), legend=True)
    assert drawing.shape[0] == 200 and drawing.shape[1] > 250
    for color in colors.DIRECTION_COLORS:
        assert (drawing[:, 112:] == color).all(2).sum() > 50


def test_direction_colours_differ_also_for_red_green_blindness():
    """Viénot's simplification: red and green cones see one mixed channel."""
    linear = (colors.DIRECTION_COLORS / 255.0) ** 2.2
    mixed = linear[:, :2] @ (0.11, 0.89)
    seen = np.stack([mixed, linear[:, 2]], 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    assert distances[~np.eye(4, dtype=bool)].min() > 0.15


@pytest.mark.parametrize(
    ("occludes", "message"),
    [
        (np.zeros((3, 4, 4)), r"shape \(4, H, W\), got \(3, 4, 4\)"),
        (np.full((4, 2, 2), -1.0), "negative"),
        (np.full((4, 2, 2), np.nan), "NaN"),
    ],
)
def test_bad_boundaries_are_refused(occludes, message):
    with pytest.raises(ValueError, match=message):
        boundaries.draw_oriented_boundary(occludes)


def test_boundary_of_another_size_than_the_image_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5\) but the image is \(5, 4\)"):
        boundaries.draw_oriented_boundary(np.zeros((4, 4, 5)), np.zeros((5, 4, 3), np.uint8))


def test_nothing_to_draw_gives_an_empty_image():
    assert boundaries.draw_oriented_boundary(np.zeros((4, 0, 5))).shape == (0, 5, 3)
    empty = np.zeros((0, 5, 3), np.uint8)
    assert maps.draw_instances(empty, np.zeros((2, 0, 5), bool)).shape == (0, 5, 3)
    none = np.zeros((0, 6, 5), bool)
    depth = maps.draw_relative_depth(none, np.zeros(0, int), legend=False)
    assert (depth == colors.BACKGROUND_COLOR).all() and depth.shape == (6, 5, 3)


def test_an_instance_is_tinted_inside_and_untouched_far_outside():
    image = np.full((30, 30, 3), 100, np.uint8)
    mask = np.zeros((1, 30, 30), bool)
    mask[0, 8:20, 8:20] = True
    color = np.array([[200, 0, 50]], np.uint8)
    drawing = maps.draw_instances(image, mask, labels=[""], colors=color, opacity=0.5)
    assert drawing[14, 14].tolist() == [150, 50, 75]
    assert (drawing[:5] == 100).all() and (drawing[24:] == 100).all()
    assert (image == 100).all(), "the photograph must stay as it was"


def test_the_smaller_of_two_overlapping_masks_is_on_top():
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 12:28, 12:28] = True
    masks[1] = True
    color = np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    drawing = maps.draw_instances(
        np.zeros((40, 40, 3), np.uint8), masks, labels=["", ""], colors=color, opacity=1.0
    )
    assert drawing[20, 20].tolist() == [255, 0, 0]
    assert drawing[6, 20].tolist() == [0, 255, 0]


def test_instance_colours_are_distinct_and_do_not_depend_on_the_count():
    many = colors.instance_colors(60).astype(int)
    assert (colors.instance_colors(5) == many[:5]).all()
    apart = np.abs(many[:, None] - many[None]).sum(2)[~np.eye(60, dtype=bool)]
    assert apart.min() > 20
    assert colors.instance_colors(0).shape == (0, 3)
    assert colors.instance_colors(130).shape == (130, 3)


def test_wrong_numbers_of_labels_are_refused():
    with pytest.raises(ValueError, match="2 masks need 2 labels"):
        maps.draw_instances(np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4), bool), labels=["a"])


def test_semantic_map_shows_classes_background_and_void():
    semantic = np.array([[0, 1, 2, 255, -1]])
    table = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
    drawing = maps.draw_semantic(semantic, colors=table)
    assert drawing[0].tolist() == [
        list(colors.BACKGROUND_COLOR), [10, 20, 30], [40, 50, 60], [90] * 3, [90] * 3,
    ]  # fmt: skip
    with_legend = maps.draw_semantic(semantic, colors=table, names=["cup", "ball"])
    assert (with_legend == (40, 50, 60)).all(2).sum() > 100
    with pytest.raises(ValueError, match="class 2 occurs, but only 1 colours"):
        maps.draw_semantic(semantic, colors=table[:1])
    with pytest.raises(ValueError, match="integer"):
        maps.draw_semantic(np.zeros((2, 2)))


def test_nearer_instances_are_brighter_and_cover_farther_ones():
    masks = np.zeros((3, 20, 60), bool)
    masks[0, :, :20] = masks[1, :, 15:40] = masks[2, :, 40:] = True
    drawing = maps.draw_relative_depth(masks, np.array([3, 1, 7]), legend=False).astype(int)
    first, second, third = (drawing[10, x].sum() for x in (8, 30, 50))
    assert third > first > second
    assert drawing[10, 17].sum() == first, "the nearer one wins where two overlap"
    steps = colors.depth_colors(3)
    assert drawing[10, 50].tolist() == steps[0].tolist()
    assert drawing[10, 30].tolist() == steps[2].tolist()


@pytest.mark.parametrize("levels", [0, 1, 2, 9])
def test_depth_colours_are_ordered_from_light_to_dark(levels):
    steps = colors.depth_colors(levels).astype(int)
    assert steps.shape == (levels, 3)
    brightness = steps @ (0.3, 0.59, 0.11)
    assert (np.diff(brightness) < 0).all()


def test_depth_legend_holds_every_step():
    legend = maps.depth_legend(5, width=500)
    assert legend.shape == (26, 500, 3)
    for color in colors.depth_colors(5):
        assert (legend == color).all(2).any()
    assert maps.draw_relative_depth(np.zeros((0, 9, 9), bool), np.zeros(0)).shape[1] > 9


def test_depth_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        maps.draw_relative_depth(np.zeros((2, 4, 4), bool), np.zeros(3))
