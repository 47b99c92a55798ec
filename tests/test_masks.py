"""Masks: known answers, agreement with pycocotools and OpenCV, and input that must be refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask
from scipy import spatial

import occ_order
from occ_order import masks

ROOT = Path(occ_order.__file__).parents[1]
MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
STACKS = hnp.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9)))
SQUARE = [1, 1, 5, 1, 5, 4, 1, 4]


def square(y0, x0, y1, x1, shape=(10, 12)):
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


# --- decoding and encoding -----------------------------------------------------------------


def test_uncompressed_runs_go_down_the_columns():
    mask = masks.decode({"size": [2, 3], "counts": [1, 2, 3]}, 2, 3)
    assert mask.dtype == bool
    assert mask.tolist() == [[False, True, False], [True, False, False]]


def test_encode_known_string():
    rle = masks.encode(np.array([[0, 1, 0], [1, 0, 0]]))
    assert rle == {"size": [2, 3], "counts": "123"}
    assert json.loads(json.dumps(rle)) == rle


@given(MASKS)
def test_round_trip_and_agreement_with_pycocotools(mask):
    rle = masks.encode(mask)
    height, width = mask.shape
    np.testing.assert_array_equal(masks.decode(rle, height, width), mask)
    np.testing.assert_array_equal(coco_mask.decode(rle), mask)
    as_bytes = {"size": rle["size"], "counts": rle["counts"].encode()}
    np.testing.assert_array_equal(masks.decode(as_bytes, height, width), mask)


@given(MASKS)
def test_uncompressed_round_trip(mask):
    column_major = mask.T.ravel()
    changes = np.flatnonzero(np.diff(column_major)) + 1
    counts = np.diff([0, *changes, mask.size]).tolist()
    if column_major[0]:
        counts = [0, *counts]
    rle = {"size": list(mask.shape), "counts": counts}
    np.testing.assert_array_equal(masks.decode(rle, *mask.shape), mask)


def test_long_runs_use_several_characters():
    mask = np.zeros((700, 900), dtype=bool)
    mask[300:, 400:500] = True
    mask[::7, 800:] = True
    np.testing.assert_array_equal(masks.decode(masks.encode(mask), 700, 900), mask)


def test_encode_takes_any_nonzero_value_as_inside():
    mask = np.array([[0, 17, 3], [255, 0, 0]], dtype=np.uint8)
    np.testing.assert_array_equal(masks.decode(masks.encode(mask), 2, 3), mask > 0)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3,), (2, 3, 4)])
def test_encode_refuses_other_shapes(shape):
    with pytest.raises(ValueError):
        masks.encode(np.zeros(shape))


def test_polygon_known_answer():
    mask = masks.decode([SQUARE], 6, 8)
    np.testing.assert_array_equal(mask, square(1, 1, 4, 5, (6, 8)))


def test_several_polygons_are_united_and_a_flat_one_is_wrapped():
    other = [4, 0, 8, 0, 8, 6, 4, 6]
    both = masks.decode([SQUARE, other], 6, 8)
    np.testing.assert_array_equal(both, masks.decode(SQUARE, 6, 8) | masks.decode([other], 6, 8))
    np.testing.assert_array_equal(
        masks.decode(np.array(SQUARE), 6, 8), masks.decode([SQUARE], 6, 8)
    )


def test_polygon_outside_is_empty_and_partly_outside_is_cut():
    far = [20, 20, 30, 20, 30, 30, 20, 30]
    assert not masks.decode([far], 6, 8).any()
    assert masks.decode([[-9, -9, 30, -9, 30, 30, -9, 30]], 6, 8).all()


def test_self_touching_polygon_is_accepted():
    bow_tie = masks.decode([[0, 0, 8, 6, 8, 0, 0, 6]], 6, 8)
    assert 0 < bow_tie.sum() < 48


@settings(max_examples=50)
@given(st.lists(st.floats(-20, 20), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0))
def test_polygons_agree_with_pycocotools(polygon):
    rle = coco_mask.merge(coco_mask.frPyObjects([polygon], 10, 12))
    np.testing.assert_array_equal(masks.decode([polygon], 10, 12), coco_mask.decode(rle))


GOOD = masks.encode(square(2, 3, 7, 9))
BAD_SEGMENTATIONS = {
    "size too large": ({"size": [11, 12], "counts": GOOD["counts"]}, "RLE size is"),
    "size swapped": ({"size": [12, 10], "counts": GOOD["counts"]}, "RLE size is"),
    "size not a pair": ({"size": 10, "counts": GOOD["counts"]}, "RLE size must be"),
    "runs too short": ({"size": [10, 12], "counts": "123"}, "sum to 6, expected 10"),
    "runs too long": ({"size": [10, 12], "counts": GOOD["counts"] + "5"}, "sum to"),
    "cut off": ({"size": [10, 12], "counts": "12R"}, "cut off"),
    "garbage": ({"size": [10, 12], "counts": "hello world!"}, "garbage"),
    "not ascii": ({"size": [10, 12], "counts": "ü"}, "ASCII"),
    "huge number": ({"size": [10, 12], "counts": "oooooooooooo0"}, "longer than the image"),
    "negative run": ({"size": [10, 12], "counts": "O"}, "negative"),
    "empty string": ({"size": [10, 12], "counts": ""}, "empty"),
    "empty bytes": ({"size": [10, 12], "counts": b""}, "empty"),
    "empty list": ({"size": [10, 12], "counts": []}, "empty"),
    "list too short": ({"size": [10, 12], "counts": [4]}, "sum to 4"),
    "list negative": ({"size": [10, 12], "counts": [130, -10]}, "negative"),
    "list of floats": ({"size": [10, 12], "counts": [60.0, 60.0]}, "integers"),
    "list beyond 64 bits": ({"size": [10, 12], "counts": [2**70]}, "64 bits"),
    "sum wraps": ({"size": [10, 12], "counts": [2**62, 2**62, 2**62, 2**62, 120]}, "longer than"),
    "counts None": ({"size": [10, 12], "counts": None}, "string or a list"),
    "no counts": ({"size": [10, 12]}, "lacks 'counts'"),
    "no polygons": ([], "no polygons"),
    "two points": ([[1, 1, 5, 5]], "at least 6"),
    "odd": ([[1, 1, 5, 1, 5, 5, 2]], "7 coordinates"),
    "nan": ([[1, 1, 5, 1, 5, float("nan")]], "not finite"),
    "inf": ([[1, 1, 5, 1, 5, float("inf")]], "not finite"),
    "1e7": ([[1, 1, 5, 1, 5, 1e7]], "coordinate 1e+07"),
    "strings": ([["1", "1", "5", "1", "5", "5"]], "not a number"),
    "None inside": ([[1, 1, 5, 1, 5, None]], "not a number"),
    "points as pairs": ([[[1, 1], [5, 1], [5, 5]]], "flat"),
    "ragged": ([[1, 1, [5, 1], 5, 5]], "flat"),
    "polygon is a number": ([[1, 1, 5, 1, 5, 5], 7], "list of numbers"),
    "a string": ("123", "RLE dict or a list"),
    "None": (None, "RLE dict or a list"),
}


@pytest.mark.parametrize("case", BAD_SEGMENTATIONS)
def test_damage_is_refused_with_the_name(case):
    segmentation, message = BAD_SEGMENTATIONS[case]
    with pytest.raises(ValueError, match="annotation 7") as error:
        masks.decode(segmentation, 10, 12, name="annotation 7")
    assert message in str(error.value)
    with pytest.raises(ValueError, match="annotation 7"):
        masks.check(segmentation, 10, 12, name="annotation 7")


def test_check_accepts_what_decodes():
    masks.check(GOOD, 10, 12)
    masks.check([SQUARE], 10, 12)
    masks.check({"size": [10, 12], "counts": [120]}, 10, 12)


@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=12))
def test_any_counts_string_is_decoded_exactly_or_refused(counts):
    try:
        mask = masks.decode({"size": [3, 4], "counts": counts}, 3, 4)
    except ValueError:
        return
    np.testing.assert_array_equal(coco_mask.decode({"size": [3, 4], "counts": counts}), mask)


@pytest.mark.parametrize("size", [(0, 5), (5, -1), (2.0, 3), (True, 3), (2**15, 2**14)])
def test_image_size_is_checked(size):
    with pytest.raises(ValueError, match="photo.jpg"):
        masks.decode([SQUARE], *size, name="photo.jpg")


POLYGONS = {
    "nan": ([[1, 1, 5, 1, 5, float("nan")]], "not finite"),
    "infinite": ([[1, 1, 5, 1, 5, float("-inf")]], "not finite"),
    "far outside": ([[1, 1, 5, 1, 5, 1e7]], "expected at most 6400"),
    "further": ([[1, 1, 5, 1, 1e9, 3]], "expected at most 6400"),
    "very far": ([[1, 1, 5, 1, 1e300, 5]], "expected at most 6400"),
    "odd": ([[1, 1, 5, 1, 5, 4, 3]], "7 coordinates"),
    "two points": ([[1, 1, 5, 5]], "at least 6"),
    "endless outline": ([[v for k in range(50_000) for v in (k % 2 * 6000, k % 7)]], "outline of"),
    "as long as allowed": ([[v for k in range(330) for v in (k % 2 * 6000, k % 7)]], range(10**6)),
    "touching itself": ([[0, 0, 8, 6, 8, 0, 0, 6]], range(18, 31)),
    "outside": ([[700, 500, 800, 500, 800, 600]], range(1)),
    "whole": ([[-9, -9, 700, -9, 700, 500, -9, 500]], range(480 * 640, 480 * 640 + 1)),
}
"""Polygons in an image of 480 x 640, and the area or the error that they give."""

CHILD = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
from occ_order.masks import decode
for name, polygons in json.load(sys.stdin).items():
    try:
        said = int(decode(polygons, 480, 640, name="annotation 7").sum())
    except ValueError as error:
        said = str(error)
    print(json.dumps([name, said]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_no_polygon_kills_the_process():
    """Some kill pycocotools; the process may use one gigabyte."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps({name: polygons for name, (polygons, _) in POLYGONS.items()}),
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    answers = dict(json.loads(line) for line in child.stdout.splitlines())
    assert list(answers) == list(POLYGONS)
    for name, said in answers.items():
        expected = POLYGONS[name][1]
        if isinstance(expected, str):
            assert said.startswith("annotation 7") and expected in said, name
        else:
            assert said in expected, name


def test_decode_all():
    stack = np.stack([square(2, 3, 7, 9), square(0, 0, 10, 12), square(0, 0, 0, 0)])
    rles = [masks.encode(mask) for mask in stack]
    np.testing.assert_array_equal(masks.decode_all(rles, 10, 12), stack)
    assert masks.decode_all([], 10, 12).shape == (0, 10, 12)
    with pytest.raises(ValueError, match="mask 1"):
        masks.decode_all([rles[0], {}], 10, 12)
    with pytest.raises(ValueError, match="region b"):
        masks.decode_all([rles[0], {}], 10, 12, names=["region a", "region b"])
    with pytest.raises(ValueError, match="1 names for 3"):
        masks.decode_all(rles, 10, 12, names=["a"])


# --- geometry ------------------------------------------------------------------------------


def test_bounding_box():
    assert masks.bounding_box(square(2, 3, 7, 9)).tolist() == [3, 2, 9, 7]
    assert masks.bounding_box(square(0, 0, 10, 12)).tolist() == [0, 0, 12, 10]
    assert masks.bounding_box(square(0, 0, 0, 0)).tolist() == [0, 0, 0, 0]
    assert masks.bounding_box(square(4, 4, 5, 5)).dtype == np.float64


@pytest.mark.parametrize(
    "other, expected",
    [
        (square(2, 9, 7, 11), True),  # shares an edge on the right
        (square(7, 3, 9, 9), True),  # shares an edge below
        (square(6, 8, 9, 11), True),  # overlaps in one pixel
        (square(2, 3, 7, 9), True),  # identical
        (square(4, 4, 5, 5), True),  # inside
        (square(7, 9, 9, 11), False),  # touches a corner only
        (square(2, 10, 7, 11), False),  # gap of one pixel
        (square(0, 0, 0, 0), False),  # empty
    ],
)
def test_bordering_known_answers(other, expected):
    mask = square(2, 3, 7, 9)
    assert masks.bordering(mask, other) is expected
    assert masks.bordering(other, mask) is expected
    assert masks.bordering(mask.astype(np.uint8) * 44, other * 1.0) is expected


@pytest.mark.parametrize("value", [0.3, 2.0, np.nan])
def test_a_soft_mask_is_not_taken_as_full(value):
    with pytest.raises(ValueError, match="a mask of floats must be 0 and 1; decide which"):
        masks.encode(square(2, 3, 7, 9) * value)
    with pytest.raises(ValueError, match="a mask of floats must be 0 and 1"):
        masks.bordering(square(2, 3, 7, 9), square(2, 3, 7, 9) * value)


@given(STACKS)
def test_bordering_pairs_agree_with_opencv_dilation(stack):
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.uint8)
    expected = np.zeros((len(stack), len(stack)), dtype=bool)
    for i, mask in enumerate(stack):
        grown = cv2.dilate(mask.astype(np.uint8), cross)
        for j in range(len(stack)):
            expected[i, j] = i != j and bool((grown & stack[j]).any())
    result = masks.bordering_pairs(stack)
    assert result.dtype == bool
    np.testing.assert_array_equal(result, expected)


@given(STACKS, STACKS)
def test_overlap_areas_agree_with_a_product(a, b):
    if a.shape[1:] != b.shape[1:]:
        with pytest.raises(ValueError, match="image sizes differ"):
            masks.overlap_areas(a, b)
        return
    expected = np.einsum("ihw,jhw->ij", a.astype(int), b.astype(int))
    np.testing.assert_array_equal(masks.overlap_areas(a, b), expected)
    chosen = np.tri(len(a), len(b), dtype=bool)
    np.testing.assert_array_equal(
        masks.overlap_areas(a, b, pairs=chosen), np.where(chosen, expected, 0)
    )


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="differ in shape"):
        masks.bordering(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"\(N, H, W\)"):
        masks.bordering_pairs(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="pairs must have shape"):
        masks.overlap_areas(np.zeros((2, 3, 3)), np.zeros((1, 3, 3)), pairs=np.ones((1, 2)))
    with pytest.raises(ValueError, match="occlusion must have shape"):
        masks.paint(np.zeros((2, 3, 3)), occlusion=np.zeros((3, 3)))


# --- painting ------------------------------------------------------------------------------


def test_paint_smaller_area_wins_without_order():
    large, small = square(0, 0, 8, 8), square(4, 4, 10, 10)
    ids = masks.paint(np.stack([large, small]))
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, np.where(small, 2, np.where(large, 1, 0)))


@pytest.mark.parametrize(
    "occ, winner",
    [
        ([[0, 1], [0, 0]], 1),
        ([[0, 0], [1, 0]], 2),
        ([[0, 1], [1, 0]], 2),  # mutual: the smaller area
        ([[0, -1], [-1, 0]], 2),  # unknown: the smaller area
        ([[0, 0], [0, 0]], 2),
    ],
)
def test_paint_follows_the_order(occ, winner):
    stack = np.stack([square(0, 0, 8, 8), square(4, 4, 10, 10)])
    assert masks.paint(stack, occlusion=np.array(occ, dtype=np.int8))[6, 6] == winner


def test_paint_of_equal_areas_gives_the_lower_index():
    stack = np.stack([square(0, 0, 4, 4)] * 3)
    np.testing.assert_array_equal(masks.paint(stack), stack[0].astype(int))


def test_paint_three_on_one_pixel():
    stack = np.stack([square(0, 0, 3, 3), square(0, 0, 4, 4), square(0, 0, 5, 5)])
    occ = np.zeros((3, 3), dtype=np.int8)
    occ[2, 0] = 1  # the largest occludes the smallest; the middle one is related to neither
    ids = masks.paint(stack, occlusion=occ)
    assert ids[0, 0] == 1  # 3, then 2 (smaller), then 1 (smaller than 2)
    occ[1, 0] = 1
    assert masks.paint(stack, occlusion=occ)[0, 0] == 2


def test_paint_nothing():
    np.testing.assert_array_equal(masks.paint(np.zeros((0, 3, 4))), np.zeros((3, 4)))
    np.testing.assert_array_equal(masks.paint(np.zeros((2, 3, 4))), np.zeros((3, 4)))


@given(STACKS)
def test_paint_covers_the_union_and_only_by_owners(stack):
    ids = masks.paint(stack)
    np.testing.assert_array_equal(ids > 0, stack.any(axis=0))
    for k, mask in enumerate(stack):
        assert mask[ids == k + 1].all()


@pytest.mark.parametrize("seed", range(10))
def test_disjoint_and_overlapping_masks_border_by_the_same_rule(seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 6, rng.integers(1, 12, 2))
    ids = np.repeat(np.repeat(ids, 2, axis=0), 3, axis=1)
    disjoint = ids[None] == np.arange(1, 6)[:, None, None]
    # A copy of a mask overlaps it and nothing else, which sends the others down the other path.
    copied = np.concatenate([disjoint, disjoint[:1]])
    assert np.array_equal(masks.bordering_pairs(disjoint), masks.bordering_pairs(copied)[:5, :5])


@pytest.mark.parametrize("gap", [0, 1, 3])
@given(stack=STACKS)
@settings(max_examples=60)
def test_pairs_across_a_gap_agree_with_repeated_dilation(gap, stack):
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    expected = np.zeros((len(stack), len(stack)), bool)
    for i, mask in enumerate(stack):
        grown = cv2.dilate(mask.astype(np.uint8), cross, iterations=gap + 1) > 0
        for j, other in enumerate(stack):
            expected[i, j] = i != j and bool((grown & other).any())
    assert np.array_equal(masks.bordering_pairs(stack, gap=gap), expected)
    # The same of disjoint masks, which are compared in another way.
    first = np.cumsum(stack, axis=0) == 1
    disjoint = stack & first
    wide = [[bool(i != j and _apart(a, b) <= gap + 1) for j, b in enumerate(disjoint)]
            for i, a in enumerate(disjoint)]  # fmt: skip
    found = masks.bordering_pairs(disjoint, gap=gap)
    assert found.tolist() == wide


def _apart(a, b):
    """Fewest steps between two masks."""
    steps = np.abs(np.argwhere(a)[:, None] - np.argwhere(b)[None]).sum(axis=-1)
    return steps.min() if steps.size else np.inf


def test_a_negative_gap_is_refused():
    with pytest.raises(ValueError, match="gap must be at least 0, got -1"):
        masks.bordering_pairs(np.zeros((2, 3, 3), bool), gap=-1)


# --- resizing


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int32])
def test_resizing_is_that_of_pillow(dtype):
    """Detectron2 resizes maps by Pillow's NEAREST, which measures between pixel centres."""
    rng = np.random.default_rng(0)
    for height, width, *size in rng.integers(1, 60, (200, 4)).tolist():
        values = rng.integers(0, 2 if dtype is bool else 100, (height, width)).astype(dtype)
        image = Image.fromarray(values.astype(np.uint8))
        expected = np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))
        found = masks.resize_nearest(values, size)
        assert found.dtype == dtype and np.array_equal(found, expected)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_boxes_without_decoding(mask):
    segmentation = masks.encode(mask)
    expected = masks.bounding_box(mask).tolist()
    area, box = masks.area_and_box(segmentation, *mask.shape)
    assert box.tolist() == expected and area == mask.sum()


@given(
    st.lists(
        st.lists(st.floats(-20, 30, width=32), min_size=6, max_size=12).filter(
            lambda points: len(points) % 2 == 0
        ),
        min_size=1,
        max_size=3,
    )
)
def test_areas_and_boxes_of_polygons_are_those_of_their_pixels(polygons):
    mask = masks.decode(polygons, 9, 12)
    area, box = masks.area_and_box(polygons, 9, 12)
    assert area == mask.sum() and box.tolist() == masks.bounding_box(mask).tolist()
    assert box.dtype == np.int64


def test_boxes_of_polygons_and_of_damaged_masks():
    square = [[1.0, 2.0, 5.0, 2.0, 5.0, 7.0, 1.0, 7.0]]
    expected = masks.bounding_box(masks.decode(square, 9, 8)).tolist()
    area, box = masks.area_and_box(square, 9, 8)
    assert area == 20 and box.tolist() == expected
    with pytest.raises(ValueError, match="x: .*size"):
        masks.area_and_box({"size": [2, 2], "counts": "04"}, 3, 3, name="x")


@pytest.mark.parametrize("side", [12, 20, 40])
def test_an_enlarged_map_comes_back_unchanged(side):
    """OOSIS evaluates KINS at 2048 x 615 (Section 5.3): what its images of 1242 x 375 pixels are
    enlarged to must come back whole, also things 12 pixels high."""
    ids = np.zeros((375, 1242), np.int32)
    for k, (y, x) in enumerate([(3, 5), (101, 333), (250, 1000)], 1):
        ids[y : y + side, x : x + side] = k
    large = np.asarray(Image.fromarray(ids).resize((2048, 615), Image.Resampling.NEAREST))
    assert np.array_equal(masks.resize_nearest(large, ids.shape), ids)


def test_masks_are_resized_one_by_one():
    stack = np.random.default_rng(1).random((3, 7, 9)) < 0.5
    found = masks.resize_nearest(stack, (11, 4))
    assert found.dtype == bool and found.shape == (3, 11, 4)
    assert np.array_equal(found, [masks.resize_nearest(one, (11, 4)) for one in stack])
    assert masks.resize_nearest(stack[:0], (11, 4)).shape == (0, 11, 4)
    assert masks.resize_nearest(stack, (7, 9)) is stack


def test_maps_without_pixels():
    assert masks.resize_nearest(np.zeros((0, 4), np.int32), (2, 3)).tolist() == [[0, 0, 0]] * 2
    assert masks.resize_nearest(np.ones((2, 4), bool), (0, 3)).shape == (0, 3)
    same = np.ones((2, 4), bool)
    assert masks.resize_nearest(same, (2, 4)) is same


# --- convex hull


def test_the_convex_hull_of_an_l_is_a_triangle():
    mask = np.zeros((6, 7), bool)
    mask[1:5, 2] = mask[4, 2:6] = True
    expected = mask.copy()
    expected[1:5, 2:6] |= np.tril(np.ones((4, 4), bool))
    assert (masks.convex_hull(mask) == expected).all()
    assert (masks.convex_hull(mask.T) == expected.T).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_convex_hull_is_that_of_the_pixels_centres(seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((23, 31), bool)
    mask[tuple(rng.integers(1, 22, (2, 9)))] = True
    hull = masks.convex_hull(mask)
    sides = spatial.ConvexHull(np.argwhere(mask)).equations
    every = np.stack(np.mgrid[:23, :31], -1).reshape(-1, 2)
    beyond = (every @ sides[:, :2].T + sides[:, 2]).max(1).reshape(mask.shape)
    assert hull[beyond <= 1e-9].all()  # nothing inside is missing
    assert (beyond[hull] < 1).all()  # a pixel of the outline is cut at most
    assert (masks.convex_hull(hull) >= hull).all()


@pytest.mark.parametrize("size", [(0, 4), (1, 1), (5, 8)])
def test_the_convex_hull_of_nothing_of_a_pixel_and_of_all(size):
    assert not masks.convex_hull(np.zeros(size, bool)).any()
    assert masks.convex_hull(np.ones(size, bool)).all()
    one = np.zeros(size, bool)
    one[-1:, -1] = True
    assert (masks.convex_hull(one) == one).all()


def test_detections_become_visible_parts() -> None:
    stack = np.zeros((6, 6, 12), bool)
    stack[0, :, :8] = True  # a table, the best
    stack[1, 2:4, 2:4] = True  # a cup on it: keeps its pixels, which the table loses
    stack[2, :, 1:8] = True  # the table once more, with a lower score: a duplicate
    stack[3, :2, 7:11] = True  # reaches over the table's edge, and is smaller
    stack[4, 2:4, 3:5] = True  # half of it is the cup's, which is as large and better
    scores = [0.9, 0.2, 0.7, 0.5, 0.1, 0.95]  # the last one is empty
    kept = masks.exclusive(stack, scores)
    assert kept == [0, 1, 3, 4]
    assert [stack[k].sum() for k in kept] == [48 - 4 - 2 - 2, 4, 8, 2]
    assert stack[kept].sum(0).max() == 1


def test_what_keeps_too_little_is_left_out() -> None:
    stack = np.zeros((3, 4, 10), bool)
    stack[0, :, :10] = True
    stack[1, :, :3] = stack[2, :, 3:6] = True  # of the first one 4 columns of 10 are left
    assert masks.exclusive(stack.copy(), [0.9, 0.5, 0.5]) == [1, 2]
    assert masks.exclusive(stack.copy(), [0.9, 0.5, 0.5], least=0.4) == [0, 1, 2]


def test_of_equal_scores_the_first_keeps_its_pixels() -> None:
    stack = np.ones((2, 3, 3), bool)
    assert masks.exclusive(stack, [0.5, 0.5]) == [0]
    assert masks.exclusive(np.zeros((0, 3, 3), bool), []) == []
