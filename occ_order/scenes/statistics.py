"""Statistics of a set of generated scenes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from occ_order.order import cycles
from occ_order.scenes.scene import Scene


def _foot_and_area(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return mean row and area (N,) of the modal masks, as used by the heuristic baselines."""
    area = scene.modal.reshape(len(scene.modal), -1).sum(axis=1)
    rows = scene.modal.sum(axis=2) @ np.arange(scene.image.shape[0])
    return rows / np.maximum(area, 1), area


def _tally(scene: Scene, sums: dict[str, list]) -> None:
    occ, depth, overlap = scene.occlusion > 0, scene.depth, scene.overlap
    count = len(occ)
    row, area = _foot_and_area(scene)
    upper = np.triu(np.ones((count, count), dtype=bool), 1)
    one_way = occ & ~occ.T
    sums["instances"].append(count)
    sums["pairs"].append(int(upper.sum()))
    sums["occluding"].append(int(((occ | occ.T) & upper).sum()))
    sums["mutual"].append(int((occ & occ.T & upper).sum()))
    sums["area_occlusion"] += list((area[:, None] > area)[one_way])
    sums["y_occlusion"] += list((row[:, None] > row)[one_way])
    closer = depth == 1
    sums["area_depth"] += list((area[:, None] > area)[closer])
    sums["y_depth"] += list((row[:, None] > row)[closer])
    sums["occluder_closer"] += list(closer[one_way])
    sums["overlap"] += list(overlap[upper & (overlap >= 0)])
    sums["equal"] += list(depth[upper & (depth >= 0)] == 2)
    sums["count"] += list(scene.count[upper & (scene.count >= 0)])
    sums["unknown"] += list(scene.occlusion[upper] == -1)
    sums["cyclic"].append(bool(cycles(one_way)))
    whole = scene.amodal.reshape(count, -1).sum(axis=1)
    sums["hidden"] += list(1.0 - area / np.maximum(whole, 1))
    sums["level"] += list(
        np.bincount(scene.levels[scene.levels >= 0].astype(np.int64), minlength=5)
    )
    sums["covered"].append(float(scene.modal.any(axis=0).mean()) if count else 0.0)


def summarize(scenes: Iterable[Scene]) -> dict[str, float | list[float]]:
    """Compute statistics of a set of scenes.

    Args:
        scenes: any number of scenes; may be an iterator.

    Returns:
        A JSON-serializable dict. Fractions are in [0, 1], NaN if undefined:
        ``scenes``, ``instances_per_scene``, ``pairs``, ``occluding_pairs``;
        ``occluding_share`` and ``unknown_share`` (occlusion, of all pairs), ``bidirectional_share``
        (of the occluding ones),
        ``cyclic_scenes`` (with a cycle of one-way occlusions), ``covered`` (image under
        instances); ``area_occlusion`` and ``y_occlusion`` (one-way pairs in which the occluder has
        the larger visible area / is lower in the image), ``area_depth`` and ``y_depth`` (the same
        for the closer one of all unequal pairs), ``occluder_closer``; ``distinct_share``,
        ``equal_share``, ``mean_count``; ``hidden_histogram`` (occluded fraction 0, then fifths of
        (0, 1]) and ``level_histogram`` (object pixels at level 0, 1, 2, 3, 4 and more).
    """
    names = (
        "instances pairs occluding mutual area_occlusion y_occlusion area_depth y_depth "
        "occluder_closer overlap equal count unknown cyclic hidden level covered"
    )
    sums: dict[str, list] = {name: [] for name in names.split()}
    levels = np.zeros(5, dtype=np.int64)
    for scene in scenes:
        _tally(scene, sums)
        found = np.array(sums.pop("level"), dtype=np.int64)
        sums["level"] = []
        levels += np.append(found[:4], found[4:].sum())

    def mean(name: str) -> float:
        return float(np.mean(sums[name])) if sums[name] else float("nan")

    occluding, pairs = sum(sums["occluding"]), sum(sums["pairs"])
    hidden = np.asarray(sums["hidden"], dtype=np.float64)
    bins = np.histogram(hidden[hidden > 0], bins=5, range=(0.0, 1.0))[0]
    parts = np.append((hidden == 0).sum(), bins) / max(len(hidden), 1)
    return {
        "scenes": len(sums["instances"]),
        "instances_per_scene": mean("instances"),
        "pairs": pairs,
        "occluding_pairs": occluding,
        "occluding_share": occluding / pairs if pairs else float("nan"),
        "unknown_share": mean("unknown"),
        "bidirectional_share": sum(sums["mutual"]) / occluding if occluding else float("nan"),
        "cyclic_scenes": mean("cyclic"),
        "covered": mean("covered"),
        "area_occlusion": mean("area_occlusion"),
        "y_occlusion": mean("y_occlusion"),
        "area_depth": mean("area_depth"),
        "y_depth": mean("y_depth"),
        "occluder_closer": mean("occluder_closer"),
        "distinct_share": 1.0 - mean("overlap"),
        "equal_share": mean("equal"),
        "mean_count": mean("count"),
        "hidden_histogram": [float(v) for v in parts],
        "level_histogram": [float(v) for v in levels / max(levels.sum(), 1)],
    }
