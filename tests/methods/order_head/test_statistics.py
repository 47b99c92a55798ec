"""Statistics of orders against a count by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from occ_order.draw.order_statistics import draw_statistics
from occ_order.formats.statistics import (
    DEPTHS,
    OCCLUSIONS,
    format_statistics,
    order_statistics,
    pair_geometry,
    pair_types,
)
from occ_order.masks import encode


def make_record(image_id=1, size=3):
    """a over b (a closer, distinct, 2 workers), b and c each other (equal, overlapping, 3 workers),
    a and c not related (nobody has said the depth); masks in columns 0-1, 2-3 and 5."""
    masks = np.zeros((size, 4, 6), bool)
    for mask, columns in zip(masks, ((0, 2), (2, 4), (5, 6)), strict=False):
        mask[:, slice(*columns)] = True
    unknown = np.full((3, 3), -1)
    depth, overlap, count = unknown.copy(), unknown.copy(), unknown.copy()
    depth[0, 1], depth[1, 0], depth[1, 2], depth[2, 1] = 1, 0, 2, 2
    overlap[0, 1] = overlap[1, 0] = 0
    overlap[1, 2] = overlap[2, 1] = 1
    count[0, 1] = count[1, 0] = 2
    count[1, 2] = count[2, 1] = 3
    occlusion = np.array([[0, 1, 0], [0, 0, 1], [0, 1, 0]])
    part = slice(0, size)
    return {
        "image_id": image_id,
        "height": 4,
        "width": 6,
        "annotations": [{"id": k, "segmentation": encode(mask)} for k, mask in enumerate(masks)],
        "occlusion": occlusion[part, part],
        "depth": depth[part, part],
        "overlap": overlap[part, part],
        "count": count[part, part],
    }


def named(types, names):
    return [[names[k] if k >= 0 else None for k in row] for row in types]


def test_relation_of_every_pair():
    occlusion, depth = pair_types(make_record())
    assert named(occlusion, OCCLUSIONS) == [
        [None, "over", "neither"],
        ["under", None, "both"],
        ["neither", "both", None],
    ]
    assert named(depth, DEPTHS) == [
        [None, "closer_distinct", None],
        ["farther_distinct", None, "equal_overlapping"],
        [None, "equal_overlapping", None],
    ]


def test_a_half_annotated_occlusion_and_a_depth_without_overlap():
    record = make_record(size=2)
    record["occlusion"] = np.array([[0, 1], [-1, 0]])
    del record["overlap"]
    occlusion, depth = pair_types(record)
    assert (occlusion == -1).all()
    assert named(depth, DEPTHS)[0] == [None, "closer_unspecified"]


def test_counts_by_hand():
    found = order_statistics(iter([make_record(), make_record(2, size=1), make_record(3, size=2)]))
    assert [found[k] for k in ("images", "instances", "pairs")] == [3, 6, 4]
    assert (found["occlusion_pairs"], found["depth_pairs"]) == (4, 3)
    assert found["instances_per_image"] == {1: 1, 2: 1, 3: 1}
    assert found["occlusion_types"] == {"one_way": 0.5, "both": 0.25, "neither": 0.25}
    assert found["depth_types"]["unequal_distinct"] == pytest.approx(2 / 3)
    assert found["depth_types"]["equal_overlapping"] == pytest.approx(1 / 3)
    assert found["agreement"]["all"] == pytest.approx({"2": 2 / 3, "3": 1 / 3})
    assert found["agreement"]["distinct"] == {"2": 1.0}


def test_conditional_shares_by_hand():
    found = order_statistics([make_record(), make_record(2, size=2)])
    given = found["depth_given_occlusion"]
    assert given["over"]["closer_distinct"] == 1 and given["under"]["farther_distinct"] == 1
    assert given["both"]["equal_overlapping"] == 1
    assert set(given["neither"].values()) == {None}
    given = found["occlusion_given_depth"]
    assert given["closer_distinct"] == {"over": 1, "under": 0, "both": 0, "neither": 0}
    assert set(given["equal_distinct"].values()) == {None}


def test_masks_that_meet_by_hand():
    record = make_record()  # of three pairs a-b borders; of two occluding ones a-b
    assert order_statistics([record])["meeting"] == {
        "modal": {
            "intersecting": 0,
            "overlapping": 0,
            "bordering": pytest.approx(1 / 3),
            "occluding_bordering": 0.5,
        },
        "amodal": dict.fromkeys(
            ("intersecting", "overlapping", "bordering", "occluding_bordering")
        ),
    }
    whole = np.zeros((4, 6), bool)
    whole[:, 1:] = True
    for annotation in record["annotations"]:
        annotation["amodal_segmentation"] = annotation["segmentation"]
    record["annotations"][1]["amodal_segmentation"] = encode(whole)
    assert order_statistics([record])["meeting"]["amodal"]["overlapping"] == pytest.approx(2 / 3)
    assert "meeting" not in order_statistics([record], look_at_masks=False)


@pytest.mark.parametrize(("shared", "intersecting"), [(10, 0), (11, 1)])
def test_masks_intersect_if_they_share_more_than_ten_pixels(shared, intersecting):
    """InstaOrder, Section 3.4: "we determine 'intersect' if two masks overlap more than ten
    pixels"."""
    first, second = np.zeros((2, 3, 40), bool)
    first[0, :20] = second[0, 20 - shared :] = True
    record = {"image_id": 1, "height": 3, "width": 40, "annotations": []}
    for k, mask in enumerate((first, second)):
        record["annotations"].append({"id": k, "segmentation": encode(mask)})
    found = order_statistics([record])["meeting"]["modal"]
    assert (found["intersecting"], found["overlapping"]) == (intersecting, 1)


def test_workers_asked_about_occlusion_are_counted():
    """InstaOrder, Fig. 4b and Section 3.3: of the pairs, 81 % were accepted by the first two
    annotators for occlusion."""
    record = make_record()
    record["occlusion"] = np.array([[0, 1, 1], [0, 0, 1], [0, 0, 0]])
    record["occlusion_count"] = np.array([[-1, 2, 4], [2, -1, -1], [4, -1, -1]])
    assert order_statistics([record])["agreement"]["occlusion"] == {"2": 0.5, "4": 0.5}
    assert "| occlusion | 50.0 % |" in format_statistics(order_statistics([record]))


@pytest.mark.parametrize("records", [[], [make_record(size=0)], [make_record(size=1)]])
def test_without_pairs_every_share_is_none(records):
    found = order_statistics(records)
    assert found["pairs"] == 0 and set(found["occlusion_types"].values()) == {None}
    assert found["agreement"] == {"all": {}, "distinct": {}, "overlapping": {}, "occlusion": {}}
    assert f"| images | {len(records)} |" in format_statistics(found)
    assert draw_statistics(found).shape[2] == 3


def test_shares_of_each_row_sum_to_one():
    rng = np.random.default_rng(0)
    record = make_record()
    record["annotations"] = record["annotations"] * 4
    record["occlusion"] = rng.integers(-1, 2, (12, 12))
    np.fill_diagonal(record["occlusion"], 0)
    upper = np.triu(rng.integers(-1, 3, (12, 12)), 1)
    record["depth"] = np.triu(upper, 1) + np.tril(np.array([1, 0, 2, -1])[upper].T, -1)
    np.fill_diagonal(record["depth"], -1)
    record["overlap"] = np.full((12, 12), -1)
    del record["count"]
    found = order_statistics([record], look_at_masks=False)
    for name in ("depth_given_occlusion", "occlusion_given_depth"):
        sums = [sum(r.values()) for r in found[name].values() if None not in r.values()]
        assert len(sums) >= 3 and sums == pytest.approx([1] * len(sums))


def test_table_and_json_of_a_data_set():
    found = order_statistics([make_record()])
    text = format_statistics(found, title="mine")
    assert text.startswith("## mine\n") and "| one_way | 33.3 % |" in text
    assert "| over | 100.0 % | 0.0 % | 0.0 % |" in text
    assert json.loads(json.dumps(found, allow_nan=False))["pairs"] == 3
    assert draw_statistics(found, title="mine").dtype == np.uint8


def test_a_damaged_mask_is_named():
    record = make_record()
    record["annotations"][2]["segmentation"] = {"size": [4, 6], "counts": [5]}
    with pytest.raises(ValueError, match="image 1: annotation 2"):
        order_statistics([record])


def overlapping(is_stuff=0, whole=True):
    """A square of 4 x 4 pixels whose upper left 2 x 2 lie under one of 4 x 4, in 10 x 10."""
    front, back = np.zeros((2, 10, 10), bool)
    front[1:5, 1:5], back[3:7, 3:7] = True, True
    annotations = [
        {"id": k, "segmentation": encode(visible), "amodal_segmentation": encode(mask)}
        for k, (mask, visible) in enumerate(((front, front), (back, back & ~front)))
    ]
    annotations[1]["is_stuff"] = is_stuff
    if not whole:
        del annotations[0]["amodal_segmentation"]
    order = np.array([[0, 1], [0, 0]])
    return {
        "image_id": 1,
        "height": 10,
        "width": 10,
        "annotations": annotations,
        "occlusion": order,
    }


def test_geometry_of_a_pair_by_hand():
    # 2 rows lower is half of 4; 5 pixels of the back one are neighbours of the front one's corner.
    assert np.allclose(pair_geometry(overlapping()), [[0.4, 1.0, 4 / 16, -0.5, 5 / 4]])
    assert pair_geometry(overlapping(is_stuff=1)).shape == (0, 5)
    assert pair_geometry(overlapping(whole=False)).shape == (0, 5)
    summary = order_statistics([overlapping(), overlapping()])["geometry"]
    assert summary["pairs"] == 2 and summary["covered"] == [0.25] * 5
    assert (summary["smaller_in_front"], summary["lower_in_front"]) == (0.0, 0.0)
    assert "| shift | -0.50 |" in format_statistics(order_statistics([overlapping()]))
    assert "geometry" not in order_statistics([overlapping(is_stuff=1)])
