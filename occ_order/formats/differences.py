"""Comparison of records before writing and after reading back, to report losses of a format."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.order import UNKNOWN

_TEXTS = ("name", "is_stuff", "score")
_NOTHING = {"name": ("", None), "is_stuff": (0, None), "score": (1.0, None)}
"""Values that are equivalent to an absent key."""


@dataclass
class Differences:
    """Numbers of lost and changed values by kind.

    Attributes:
        lost: values that were known before and are absent or unknown now.
        changed: values that contradict the previous ones.
    """

    lost: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return one line per kind of difference, most frequent first."""
        said = [f"lost: {what}: {n:,}" for what, n in self.lost.most_common()]
        return said + [f"changed: {what}: {n:,}" for what, n in self.changed.most_common()]


def compare(
    before: Iterable[Mapping[str, Any]],
    after: Iterable[Mapping[str, Any]],
    categories_before: Sequence[Mapping[str, Any]] = (),
    categories_after: Sequence[Mapping[str, Any]] = (),
) -> Differences:
    """Compare records by image id and annotation id, independent of their order.

    If annotation ids were not kept, annotations are matched by their masks. Both are iterated over
    once, side by side; records wait in memory for their partner only where the order differs.

    Args:
        before: original records.
        after: records read back.
        categories_before: [{"id", "name"}] of `before`; classes are compared by name.
        categories_after: [{"id", "name"}] of `after`.

    Returns:
        The differences. Boxes are not compared, since they follow from the masks or the format.
    """
    found = Differences()
    classes = [
        {c["id"]: c["name"] for c in categories}
        for categories in (categories_before, categories_after)
    ]
    waiting: list[dict[Any, Mapping[str, Any]]] = [{}, {}]
    for pair in itertools.zip_longest(before, after):
        for mine, others, record in zip(waiting, waiting[::-1], pair, strict=True):
            if record is None:
                continue
            mine[record["image_id"]] = record
            if record["image_id"] in others:
                one, other = (side.pop(record["image_id"]) for side in waiting)
                _compare_images(one, other, classes, found)
    found.lost["images"] += len(waiting[0])
    found.changed["images that were not there"] += len(waiting[1])
    found.lost += Counter()  # drops counts of zero
    found.changed += Counter()
    return found


def _compare_images(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    classes: list[dict[int, str]],
    found: Differences,
) -> None:
    if (one["height"], one["width"]) != (other["height"], other["width"]):
        found.changed["image sizes"] += 1
        return
    place = _places(one, other, found)
    known = np.flatnonzero(place >= 0)
    found.lost["instances"] += int((place < 0).sum())
    found.changed["instances that were not there"] += len(other["annotations"]) - len(known)
    for k in known.tolist():
        a, b = one["annotations"][k], other["annotations"][place[k]]
        _compare_masks(a, b, (one["height"], one["width"]), found)
        names = [table.get(x["category_id"]) for table, x in zip(classes, (a, b), strict=True)]
        if names[0] != names[1]:
            found.lost["classes"] += 1
        for key in _TEXTS:
            if a.get(key) != b.get(key) and a.get(key) not in _NOTHING[key]:
                found.lost[f"'{key}' of an instance"] += 1
    keys = ["occlusion", "depth", "overlap", "count"]
    if "occlusion_count" in one:  # if absent, 2 is written to InstaOrder's files, as documented
        keys.append("occlusion_count")
    for key in keys:
        _compare_matrices(key, one, other, known, place[known], found)
    found.lost += Counter()
    found.changed += Counter()


def _places(one: Mapping[str, Any], other: Mapping[str, Any], found: Differences) -> np.ndarray:
    """Return the index of each annotation in the other record, -1 if missing, int (N,)."""
    ids = {annotation["id"]: k for k, annotation in enumerate(other["annotations"])}
    own = [annotation["id"] for annotation in one["annotations"]]
    if ids.keys() <= set(own) or ids.keys() >= set(own):  # kept, of those that are there
        return np.array([ids.get(number, -1) for number in own], np.int64)
    found.lost["ids of instances (numbered anew)"] += len(one["annotations"])
    size, left = (one["height"], one["width"]), list(range(len(other["annotations"])))
    # By what the other record says at all: it may have lost the whole masks.
    fields = ["segmentation", "amodal_segmentation"]
    fields = [key for key in fields if all(key in a for a in other["annotations"])]
    keys = [_mask_key(annotation, fields, size) for annotation in other["annotations"]]
    place = np.full(len(one["annotations"]), -1, np.int64)
    for k, annotation in enumerate(one["annotations"]):
        key = _mask_key(annotation, fields, size)
        same = next((m for m in left if keys[m] == key), None)
        if same is not None:
            place[k] = same
            left.remove(same)
    return place


def _mask_key(
    annotation: Mapping[str, Any], fields: Sequence[str], size: tuple[int, int]
) -> tuple[bytes, ...]:
    said = [annotation.get(key, annotation["segmentation"]) for key in fields]
    return tuple(np.packbits(masks.decode(mask, *size)).tobytes() for mask in said)


def _compare_masks(
    one: Mapping[str, Any], other: Mapping[str, Any], size: tuple[int, int], found: Differences
) -> None:
    for key, what in (("segmentation", "visible masks"), ("amodal_segmentation", "whole masks")):
        if key not in one:
            continue
        if key not in other:
            found.lost[what] += 1
        elif (
            one[key] != other[key]
            and (masks.decode(one[key], *size) != masks.decode(other[key], *size)).any()
        ):
            found.changed[what] += 1
    if "amodal_segmentation" in other and "amodal_segmentation" not in one:
        found.changed["whole masks that nobody gave"] += 1


def _compare_matrices(
    key: str,
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    rows: np.ndarray,
    places: np.ndarray,
    found: Differences,
) -> None:
    what = {
        "occlusion": "occlusion of a pair",
        "depth": "depth order of a pair",
        "overlap": "'distinct' or 'overlap' of a pair",
        "count": "number of people asked about a pair",
        "occlusion_count": "number of people asked about an occlusion",
    }[key]
    n = len(rows)
    unknown = np.full((n, n), UNKNOWN)
    np.fill_diagonal(unknown, 0 if key == "occlusion" else UNKNOWN)
    a = np.asarray(one[key])[np.ix_(rows, rows)] if key in one else unknown
    b = np.asarray(other[key])[np.ix_(places, places)] if key in other else unknown
    a, b = a.astype(np.int64), b.astype(np.int64)
    # A pair counts once, even if both of its directions differ.
    lost = (a != UNKNOWN) & (b == UNKNOWN)
    changed = (b != UNKNOWN) & (a != b)
    changed_pairs = np.triu(changed | changed.T, 1)
    found.changed[what] += int(changed_pairs.sum())
    found.lost[what] += int((np.triu(lost | lost.T, 1) & ~changed_pairs).sum())
