from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from occ_order import targets
from occ_order.targets.oriented_boundary import (
    DIRECTIONS,
    OFFSETS,
    OPPOSITE,
    boundary_and_orientation,
    flip_orientation,
    neighbour_slices,
    occluded_neighbours,
    oriented_boundary,
    semantic_map,
    thin_directions,
)

# Two overlapping shapes that meet along a staircase. The answers below were worked out on paper.
EXAMPLE = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 2, 0],
        [0, 1, 1, 2, 2, 0],
        [0, 0, 0, 2, 2, 0],
        [0, 0, 0, 0, 0, 0],
    ]
)
FIRST_IN_FRONT = np.array([[0, 1], [0, 0]], dtype=np.int8)


def active(occludes: np.ndarray) -> list[list[str]]:
    """Letters of the active directions per pixel, for comparison with a drawing."""
    letters = np.array(list("LRTB"))
    return [
        ["".join(letters[occludes[:, y, x]]) for x in range(occludes.shape[2])]
        for y in range(occludes.shape[1])
    ]


def slow_occludes(ids: np.ndarray, occ: np.ndarray, over_background: bool) -> np.ndarray:
    """Pixel loop over the definition, written apart from the code under test."""
    height, width = ids.shape
    out = np.zeros((4, height, width), dtype=bool)
    for y in range(height):
        for x in range(width):
            for d, (dy, dx) in enumerate(OFFSETS):
                if not (0 <= y + dy < height and 0 <= x + dx < width):
                    continue
                i, j = ids[y, x], ids[y + dy, x + dx]
                if i <= 0 or j < 0 or i == j:
                    continue
                out[d, y, x] = over_background if j == 0 else occ[i - 1, j - 1] == 1
    return out


def test_worked_example_first_occludes_second() -> None:
    boundary, orientation = oriented_boundary(EXAMPLE, FIRST_IN_FRONT)
    assert boundary.sum() == 11
    assert active(orientation > 0) == [
        ["", "", "", "", "", ""],
        ["", "LT", "T", "RT", "", ""],
        ["", "L", "", "RB", "RT", ""],
        ["", "LB", "RB", "", "R", ""],
        ["", "", "", "LB", "RB", ""],
        ["", "", "", "", "", ""],
    ]
    assert (orientation > 0).sum() == 19
    assert orientation[:, 1, 1].tolist() == [0.5, 0, 0.5, 0]
    assert orientation[:, 2, 3].tolist() == [0, 0.5, 0, 0.5]
    assert orientation[:, 1, 2].tolist() == [0, 0, 1, 0]
    assert boundary.dtype == bool and orientation.dtype == np.float32


def test_worked_example_second_occludes_first() -> None:
    boundary, orientation = oriented_boundary(EXAMPLE, FIRST_IN_FRONT.T)
    assert boundary.sum() == 11
    assert (orientation > 0).sum() == 19
    assert np.allclose(orientation[:, 2, 4], [1 / 3, 1 / 3, 1 / 3, 0])
    assert not boundary[2, 3] and not orientation[:, 2, 3].any()


@pytest.mark.parametrize("value", [-1, 0])
def test_worked_example_unknown_or_absent_order_leaves_no_boundary_between(value: int) -> None:
    boundary, orientation = oriented_boundary(EXAMPLE, np.where(np.eye(2), 0, value))
    assert boundary.sum() == 10
    assert (orientation > 0).sum() == 16
    assert not boundary[2, 3]  # touched instance 2 only
    assert orientation[:, 2, 4].tolist() == [0, 0.5, 0.5, 0]  # top and right are background


def test_without_background_only_the_common_border_is_left() -> None:
    boundary, orientation = oriented_boundary(EXAMPLE, FIRST_IN_FRONT, over_background=False)
    assert np.argwhere(boundary).tolist() == [[2, 3], [3, 2]]
    assert orientation[:, 2, 3].tolist() == [0, 0.5, 0, 0.5]
    assert orientation[:, 3, 2].tolist() == [0, 1, 0, 0]


def test_mutual_occlusion_marks_both_sides() -> None:
    both = np.array([[0, 1], [1, 0]])
    occludes = occluded_neighbours(np.array([[1, 1, 2, 2]]), both)
    assert np.argwhere(occludes).tolist() == [[0, 0, 2], [1, 0, 1]]


def test_image_border_and_void_are_no_neighbours() -> None:
    whole = np.ones((3, 4), dtype=np.int32)
    boundary, _ = oriented_boundary(whole, np.zeros((1, 1), np.int8))
    assert not boundary.any()
    boundary, _ = oriented_boundary(np.array([[-7, 1, 0, 1, -1]]), np.zeros((1, 1), np.int8))
    assert boundary.tolist() == [[False, True, False, True, False]]
    occludes = occluded_neighbours(np.array([[-7, 1, 0, 1, -1]]), np.zeros((1, 1), np.int8))
    assert active(occludes) == [["", "R", "", "L", ""]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (1, 1), (4, 6)])
def test_no_instances(shape: tuple[int, int]) -> None:
    boundary, orientation = oriented_boundary(np.zeros(shape, np.int32), np.zeros((0, 0), np.int8))
    assert boundary.shape == shape and not boundary.any()
    assert orientation.shape == (4, *shape) and not orientation.any()


ID_MAPS = hnp.arrays(
    np.int32, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(-1, 4)
)
ORDERS = hnp.arrays(np.int8, (4, 4), elements=st.integers(-1, 1))


@settings(max_examples=60, deadline=None)
@given(ID_MAPS, ORDERS, st.booleans())
def test_matches_a_pixel_loop_and_sums_to_one(ids, occ, over_background) -> None:
    occludes = occluded_neighbours(ids, occ, over_background=over_background)
    assert np.array_equal(occludes, slow_occludes(ids, occ, over_background))
    boundary, orientation = oriented_boundary(ids, occ, over_background=over_background)
    assert np.array_equal(boundary, occludes.any(axis=0))
    assert np.array_equal(orientation > 0, occludes)
    assert np.allclose(orientation.sum(axis=0), boundary)


@settings(max_examples=30, deadline=None)
@given(ID_MAPS, ORDERS, st.sampled_from(["horizontal", "vertical"]))
def test_flipping_commutes_with_building(ids, occ, axis) -> None:
    mirrored_ids = np.flip(ids, 1 if axis == "horizontal" else 0)
    expected_boundary, expected = oriented_boundary(mirrored_ids, occ)
    boundary, orientation = oriented_boundary(ids, occ)
    assert np.array_equal(flip_orientation(orientation, axis=axis), expected)
    assert np.array_equal(np.flip(boundary, 1 if axis == "horizontal" else 0), expected_boundary)


@settings(max_examples=30, deadline=None)
@given(ID_MAPS, ORDERS, st.permutations(range(4)))
def test_renumbering_instances_changes_nothing(ids, occ, order) -> None:
    new_id = np.concatenate([[0], np.argsort(order) + 1, [-1]])
    renumbered = new_id[ids]
    permuted = occ[np.ix_(order, order)]
    assert np.array_equal(occluded_neighbours(ids, occ), occluded_neighbours(renumbered, permuted))


def test_unsigned_and_narrow_ids_give_the_same() -> None:
    expected = oriented_boundary(EXAMPLE, FIRST_IN_FRONT)
    for dtype in (np.uint8, np.uint16, np.int8, np.int16, np.int64):
        found = oriented_boundary(EXAMPLE.astype(dtype), FIRST_IN_FRONT)
        assert all(np.array_equal(a, b) for a, b in zip(expected, found, strict=True))


def test_direction_tables_agree() -> None:
    assert DIRECTIONS == ("left", "right", "top", "bottom")
    grid = np.arange(12).reshape(3, 4)
    for d, (dy, dx) in enumerate(OFFSETS):
        here, there = neighbour_slices(d)
        assert np.unique(grid[there] - grid[here]).tolist() == [dy * 4 + dx]
        assert OFFSETS[OPPOSITE[d]] == (-dy, -dx)


def test_flip_twice_is_identity_and_keeps_further_channels_in_place() -> None:
    maps = np.random.default_rng(0).random((5, 3, 4)).astype(np.float32)
    for axis, image_axis in (("horizontal", 1), ("vertical", 0)):
        once = flip_orientation(maps, axis=axis)
        assert np.array_equal(once[4], np.flip(maps[4], image_axis))
        assert np.array_equal(flip_orientation(once, axis=axis), maps)
    assert np.array_equal(flip_orientation(maps)[0], maps[1, :, ::-1])
    assert np.array_equal(flip_orientation(maps, axis="vertical")[3], maps[2, ::-1])


def test_semantic_map_with_background_and_void() -> None:
    found = semantic_map(np.array([[0, 1, 2], [-1, 2, -5]]), np.array([7, 3]))
    assert found.tolist() == [[0, 7, 3], [255, 3, 255]]
    assert semantic_map(np.zeros((2, 2), np.int32), np.zeros(0)).tolist() == [[0, 0], [0, 0]]


def test_thinning_keeps_one_pixel_of_every_ridge() -> None:
    row = np.array([0.2, 0.5, 0.9, 0.4, 0.4, 0.0, 0.3])
    maps = np.zeros((4, 1, 7))
    maps[0, 0], maps[1, 0] = row, row
    thinned = thin_directions(maps)
    # Of the plateau .4 .4 nothing is a maximum towards the left (.9 beside it); towards the right
    # its last pixel has .4 behind and 0 ahead.
    assert thinned[0, 0].tolist() == [0, 0, 0.9, 0, 0, 0, 0.3]
    assert thinned[1, 0].tolist() == [0, 0, 0.9, 0, 0.4, 0, 0.3]
    column = thin_directions(np.moveaxis(maps, 2, 1)[[2, 3, 0, 1]])
    assert column[2, :, 0].tolist() == thinned[0, 0].tolist()
    assert column[3, :, 0].tolist() == thinned[1, 0].tolist()


def test_thinning_plateau_keeps_the_pixel_farthest_along_the_direction() -> None:
    thinned = thin_directions(np.full((4, 3, 3), 0.5))
    assert np.argwhere(thinned[0])[:, 1].tolist() == [0, 0, 0]
    assert np.argwhere(thinned[1])[:, 1].tolist() == [2, 2, 2]
    assert np.argwhere(thinned[2])[:, 0].tolist() == [0, 0, 0]
    assert np.argwhere(thinned[3])[:, 0].tolist() == [2, 2, 2]


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.float32, (4, 4, 5), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    st.sampled_from(["horizontal", "vertical"]),
)
def test_thinning_commutes_with_flips_and_is_idempotent(maps, axis) -> None:
    thinned = thin_directions(maps)
    assert np.array_equal(
        thin_directions(flip_orientation(maps, axis=axis)), flip_orientation(thinned, axis=axis)
    )
    assert np.array_equal(thin_directions(thinned), thinned)
    assert np.isin(thinned, [0.0, *np.unique(maps)]).all()


def test_thinning_leaves_a_blurred_step_one_pixel_wide() -> None:
    boundary_x, sigma = 11, 2.0
    profile = np.exp(-((np.arange(24) - boundary_x) ** 2) / (2 * sigma**2))
    maps = np.broadcast_to(profile, (4, 6, 24)).copy()
    maps[2:] = 0
    thinned = thin_directions(maps)
    assert np.argwhere(thinned > 0.1)[:, 2].tolist() == [boundary_x] * 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 2)), np.zeros((0, 0))), "integer"),
        ((np.zeros((2, 2, 2), int), np.zeros((0, 0))), r"\(2, 2, 2\)"),
        ((np.full((2, 2), 3), np.zeros((2, 2), int)), "id 3 has no row"),
        ((np.ones((2, 2), int), np.zeros((1, 2), int)), "square"),
        ((np.ones((2, 2), int), np.full((1, 1), 2)), "-1, 0 and 1"),
        ((np.ones((2, 2), int), np.full((1, 1), np.nan)), "-1, 0 and 1"),
    ],
)
def test_bad_targets_input_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        oriented_boundary(*arguments)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="0..3"):
        neighbour_slices(4)
    with pytest.raises(ValueError, match="bool"):
        boundary_and_orientation(np.zeros((4, 2, 2)))
    with pytest.raises(ValueError, match="C >= 4"):
        flip_orientation(np.zeros((3, 2, 2)))
    with pytest.raises(ValueError, match="axis"):
        flip_orientation(np.zeros((4, 2, 2)), axis="x")
    with pytest.raises(ValueError, match=r"\(4, H, W\)"):
        thin_directions(np.zeros((5, 2, 2)))
    with pytest.raises(ValueError, match="only 1 classes"):
        semantic_map(np.array([[2]]), np.array([1]))
    with pytest.raises(ValueError, match="integer"):
        semantic_map(np.array([[1]]), np.array([1.5]))


def test_the_package_offers_the_functions_and_not_their_modules() -> None:
    assert targets.oriented_boundary is oriented_boundary
    assert all(callable(getattr(targets, name)) for name in targets.__all__ if name.islower())
