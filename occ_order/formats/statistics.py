"""Statistics of the orders of a data set: the numbers of InstaOrder's Figures 4 and 5.

Ordered pairs (i, j), i != j, are counted by their relation in the matrices of
`occ_order.order.encoding`; unknown pairs are ignored. Since (j, i) is counted as well, "i occludes
j" and "j occludes i" are equally frequent, and so are closer and farther.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np

from occ_order import masks as mask_tools

OCCLUSIONS = ("over", "under", "both", "neither")
"""Occlusion of a pair: i occludes j, j occludes i, they occlude each other, neither."""

DEPTHS = tuple(
    f"{relation}_{kind}"
    for kind in ("distinct", "overlapping", "unspecified")
    for relation in ("closer", "farther", "equal")
)
"""Depth of a pair: i is closer, farther or equal, and whether the depth ranges overlap."""

AGREEMENTS = ("all", "distinct", "overlapping", "occlusion")
"""Pairs whose numbers of workers are counted: by their depth, and those that occlude."""

INTERSECTING = 10
"""Section 3.4: two masks intersect "if two masks overlap more than ten pixels"."""

UNKNOWN = -1

GEOMETRY = ("size", "size_ratio", "covered", "shift", "contact")
"""Measures of occluding pairs, see `pair_geometry`."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def pair_types(record: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the index of the relation of every pair.

    Args:
        record: see `occ_order.formats`; missing matrices are treated as unknown.

    Returns:
        int64 (N, N) each, index into `OCCLUSIONS` and into `DEPTHS`, -1 where not annotated and on
        the diagonal.
    """
    unknown = np.full((len(record["annotations"]),) * 2, UNKNOWN)
    matrix = {
        key: np.asarray(record.get(key, unknown), np.int64)
        for key in ("occlusion", "depth", "overlap")
    }
    there, back = matrix["occlusion"], matrix["occlusion"].T
    occlusion = np.array([[3, 1], [0, 2]])[np.maximum(there, 0), np.maximum(back, 0)]
    occlusion[(there < 0) | (back < 0)] = UNKNOWN
    relation = np.array([1, 0, 2, UNKNOWN])[matrix["depth"]]
    kind = np.array([0, 1, 2])[matrix["overlap"]]  # -1 is the last
    depth = np.where(relation < 0, UNKNOWN, 3 * kind + relation)
    for types in (occlusion, depth):
        np.fill_diagonal(types, UNKNOWN)
    return occlusion, depth


def order_statistics(
    records: Iterable[dict[str, Any]], *, look_at_masks: bool = True
) -> dict[str, Any]:
    """Compute statistics of instances, orders, agreement and touching masks of a data set.

    Args:
        records: any number of records; may be an iterator.
        look_at_masks: False leaves out `meeting`, for which all masks have to be decoded.

    Returns:
        A JSON-serializable dict. Shares are in [0, 1], None if undefined.

        * ``images``, ``instances``, ``pairs`` (unordered), ``occlusion_pairs`` and ``depth_pairs``
          (annotated ones);
        * ``instances_per_image``: {number: images};
        * ``occlusion_types``: shares of one_way, both, neither among annotated pairs;
        * ``depth_types``: shares of unequal and equal, each distinct, overlapping or unspecified;
        * ``agreement``: {workers: share of depth pairs with a count}, in all and for "distinct" and
          "overlapping" pairs, and the same of "occlusion" (Fig. 4b; the format keeps the count of
          occluding pairs alone);
        * ``depth_given_occlusion``: {occlusion: {depth: share}} over ordered pairs that have both,
          and ``occlusion_given_depth``: {depth: {occlusion: share}};
        * ``meeting``: {"modal", "amodal"}: of all pairs, the shares whose masks share more than ten
          pixels ("intersecting", Section 3.4), a pixel ("overlapping"), and a pixel or a border
          ("bordering"), and of the occluding pairs the share that borders ("occluding_bordering");
        * ``geometry``: the quantiles `QUANTILES` of the measures of `pair_geometry`, and the shares
          of its pairs with "smaller_in_front" and "lower_in_front"; where there are any.

    Raises:
        ValueError: a mask is damaged; names image and annotation.
    """
    joint = np.zeros((len(OCCLUSIONS) + 1, len(DEPTHS) + 1), np.int64)  # the last: unknown
    workers: dict[str, Counter] = {name: Counter() for name in AGREEMENTS}
    sizes: Counter = Counter()
    meeting: dict[str, Counter] = {"modal": Counter(), "amodal": Counter()}
    geometry: list[np.ndarray] = []
    for record in records:
        sizes[len(record["annotations"])] += 1
        occlusion, depth = pair_types(record)
        other = ~np.eye(len(occlusion), dtype=bool)
        np.add.at(joint, (occlusion[other], depth[other]), 1)
        _count_workers(record, occlusion, depth, workers)
        if look_at_masks:
            _count_meeting(record, occlusion, meeting)
            geometry.append(pair_geometry(record))
    result = _summary(joint, sizes)
    result["agreement"] = {name: _shares(dict(sorted(c.items()))) for name, c in workers.items()}
    if look_at_masks:
        result["meeting"] = {name: _meeting_shares(counts) for name, counts in meeting.items()}
        if any(map(len, geometry)):
            result["geometry"] = _geometry_summary(np.concatenate(geometry))
    return result


def pair_geometry(record: dict[str, Any]) -> np.ndarray:
    """Measure the geometry of one-way occluding pairs of things with known amodal masks.

    Returns:
        float64 (P, 5), the columns are `GEOMETRY`: square root of the occludee's area as a share of
        that of the image's; square root of the occluder's area over that of the occludee's; share
        of the occludee under the occluder; how much lower the occluder's bottom edge is, in heights
        of the occludee; boundary between the two visible parts in pixels, over the square root of
        the occluder's area. Areas, edges and heights are those of whole (amodal) masks.
    """
    annotations, size = record["annotations"], (record["height"], record["width"])
    things = [
        k
        for k, one in enumerate(annotations)
        if "amodal_segmentation" in one and not one.get("is_stuff", 0)
    ]
    occlusion = pair_types(record)[0][np.ix_(things, things)]
    pairs = np.argwhere(occlusion == OCCLUSIONS.index("over"))
    if not len(pairs):
        return np.zeros((0, len(GEOMETRY)))
    whole, visible = (
        mask_tools.decode_all([annotations[k][key] for k in things], *size)
        for key in ("amodal_segmentation", "segmentation")
    )
    boxes = [mask_tools.bounding_box(mask) for mask in whole]
    side = np.sqrt([mask.sum() for mask in whole])
    rows = []
    for front, back in pairs:
        grown = cv2.dilate(visible[front].view(np.uint8), np.ones((3, 3), np.uint8)) > 0
        rows.append(
            (
                side[back] / math.sqrt(size[0] * size[1]),
                side[front] / side[back],
                (whole[front] & whole[back]).sum() / side[back] ** 2,
                (boxes[front][3] - boxes[back][3]) / (boxes[back][3] - boxes[back][1]),
                (grown & visible[back]).sum() / side[front],
            )
        )
    return np.array(rows)


def _geometry_summary(rows: np.ndarray) -> dict[str, Any]:
    quantiles = np.quantile(rows, QUANTILES, axis=0).T
    return {
        "pairs": len(rows),
        **{name: values.tolist() for name, values in zip(GEOMETRY, quantiles, strict=True)},
        "smaller_in_front": float((rows[:, 1] < 1).mean()),
        "lower_in_front": float((rows[:, 3] > 0).mean()),
    }


def _count_workers(record, occlusion, depth: np.ndarray, workers: dict[str, Counter]) -> None:
    if "occlusion_count" in record:
        asked = np.asarray(record["occlusion_count"])
        known = np.triu((asked > 0) & (occlusion >= 0), 1)
        workers["occlusion"].update(asked[known].tolist())
    if "count" not in record:
        return
    count = np.asarray(record["count"])
    known = np.triu((count > 0) & (depth >= 0), 1)
    kind = depth // 3
    for name, chosen in (("all", known), ("distinct", kind == 0), ("overlapping", kind == 1)):
        workers[name].update(count[known & chosen].tolist())


def _count_meeting(record, occlusion: np.ndarray, meeting: dict[str, Counter]) -> None:
    annotations, size = record["annotations"], (record["height"], record["width"])
    upper = np.triu(np.ones_like(occlusion, bool), 1)
    occluding = upper & (occlusion >= 0) & (occlusion != OCCLUSIONS.index("neither"))
    for name, key in (("modal", "segmentation"), ("amodal", "amodal_segmentation")):
        if not annotations or any(key not in one for one in annotations):
            continue
        names = [f"image {record['image_id']!r}: annotation {one['id']!r}" for one in annotations]
        masks = mask_tools.decode_all([one[key] for one in annotations], *size, names=names)
        borders = mask_tools.bordering_pairs(masks)
        shared = mask_tools.overlap_areas(masks, masks, pairs=upper & borders)
        meeting[name].update(
            pairs=int(upper.sum()),
            intersecting=int((upper & (shared > INTERSECTING)).sum()),
            overlapping=int((upper & (shared > 0)).sum()),
            bordering=int((borders & upper).sum()),
            occluding=int(occluding.sum()),
            occluding_bordering=int((borders & occluding).sum()),
        )


def _summary(joint: np.ndarray, sizes: Counter) -> dict[str, Any]:
    """Compute the statistics from the counts of ordered pairs and of instances."""
    by_occlusion, by_depth = joint[:-1].sum(1), joint[:, :-1].sum(0)
    over, under, both, neither = by_occlusion.tolist()
    known = joint[:-1, :-1]
    occlusion_types = {"one_way": over + under, "both": both, "neither": neither}
    depth_types = {}
    for start, kind in ((0, "distinct"), (3, "overlapping"), (6, "unspecified")):
        closer, farther, equal = by_depth[start : start + 3].tolist()
        depth_types.update({f"unequal_{kind}": closer + farther, f"equal_{kind}": equal})
    return {
        "images": sum(sizes.values()),
        "instances": sum(size * images for size, images in sizes.items()),
        "pairs": sum(math.comb(size, 2) * images for size, images in sizes.items()),
        "occlusion_pairs": int(by_occlusion.sum()) // 2,
        "depth_pairs": int(by_depth.sum()) // 2,
        "instances_per_image": dict(sorted(sizes.items())),
        "occlusion_types": _shares(occlusion_types),
        "depth_types": _shares(depth_types),
        "depth_given_occlusion": {
            name: _shares(dict(zip(DEPTHS, row.tolist(), strict=True)))
            for name, row in zip(OCCLUSIONS, known, strict=True)
        },
        "occlusion_given_depth": {
            name: _shares(dict(zip(OCCLUSIONS, column.tolist(), strict=True)))
            for name, column in zip(DEPTHS, known.T, strict=True)
        },
    }


def _shares(counts: dict[Any, int]) -> dict[str, float | None]:
    total = sum(counts.values())
    return {str(name): count / total if total else None for name, count in counts.items()}


def _meeting_shares(counts: Counter) -> dict[str, float | None]:
    wholes = dict.fromkeys(("intersecting", "overlapping", "bordering"), "pairs")
    wholes["occluding_bordering"] = "occluding"
    return {
        name: counts[name] / counts[whole] if counts[whole] else None
        for name, whole in wholes.items()
    }


def format_statistics(statistics: dict[str, Any], *, title: str = "") -> str:
    """Format statistics as Markdown tables.

    Args:
        statistics: result of `order_statistics`.
        title: name of the data set.
    """
    names = ("images", "instances", "pairs", "occlusion_pairs", "depth_pairs")
    lines = [f"## {title}", ""] if title else []
    lines += _table(["", "number"], [[name, f"{statistics[name]:,}"] for name in names])
    for name in ("occlusion_types", "depth_types"):
        lines += _table([name, "share"], [[k, _percent(v)] for k, v in statistics[name].items()])
    sizes = statistics["instances_per_image"]
    lines += _table(
        ["instances per image", *map(str, sizes)], [["images", *map(str, sizes.values())]]
    )
    workers = sorted({int(k) for shares in statistics["agreement"].values() for k in shares})
    rows = [
        [name, *(_percent(shares.get(str(k))) for k in workers)]
        for name, shares in statistics["agreement"].items()
    ]
    lines += _table(["workers asked", *map(str, workers)], rows)
    for name in ("depth_given_occlusion", "occlusion_given_depth"):
        given = {k: row for k, row in statistics[name].items() if None not in row.values()}
        columns = [c for c in statistics[name]["over" if name[0] == "d" else DEPTHS[0]]]
        columns = [c for c in columns if any(row[c] for row in given.values())]
        rows = [[k, *(_percent(row[c]) for c in columns)] for k, row in given.items()]
        lines += _table([name.replace("_", " "), *columns], rows)
    columns = ["intersecting", "overlapping", "bordering", "occluding_bordering"]
    rows = [
        [name, *(_percent(shares[c]) for c in columns)]
        for name, shares in statistics.get("meeting", {}).items()
    ]
    lines += _table(["masks", *columns], rows) if rows else []
    if geometry := statistics.get("geometry"):
        head = [f"{geometry['pairs']:,} occluding pairs", *(f"{100 * q:g} %" for q in QUANTILES)]
        lines += _table(head, [[k, *(f"{v:.2f}" for v in geometry[k])] for k in GEOMETRY])
        shares = ("smaller_in_front", "lower_in_front")
        lines += _table(["pairs", "share"], [[k, _percent(geometry[k])] for k in shares])
    return "\n".join(lines).rstrip() + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines] + [""]
