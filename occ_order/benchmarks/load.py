"""`occ-order bench load`: time and memory for large files, many instances and large images.

Each row compares this package with a straightforward implementation without checks:

* reading a file of 10,000 images (InstaOrder, COCOA-cls, ``order_results.json``) vs. ``json.load``
  and loops that fill the matrices;
* scoring 10,000 images vs. a loop over all pairs;
* 100 and 300 instances: bordering pairs vs. a dilation for each pair, layers vs. networkx;
* images with sides of 4,000 pixels: decoding vs. pycocotools, and the CRF (its baseline is the same
  CRF at a quarter of the size, so that the ratio is the inverse of the growth).

``peak_mb`` is the maximum growth of the process memory (Linux; NaN elsewhere).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import networkx as nx
import numpy as np
from pycocotools import mask as coco_mask

from occ_order import crf, masks, metrics, order
from occ_order.benchmarks.crf import SceneClass, make_scene
from occ_order.benchmarks.timing import in_turns, make_row
from occ_order.formats import load_cocoa_cls, load_instaorder
from occ_order.order import io

PER_IMAGE = 8  # instances per image in the large files


def rows(arguments) -> Iterator[dict[str, Any]]:
    """Yield rows for large files, many instances and large images."""
    with tempfile.TemporaryDirectory() as folder:
        yield from _files(Path(folder), arguments.images, arguments.repeats)
    for count in arguments.instances:
        yield from _instances(count, arguments.repeats)
    yield from _large(arguments.side, arguments.repeats)


def summary(found: list[dict[str, Any]]) -> str:
    """Format the largest growth of memory, and the error for too large input."""
    worst = max(found, key=lambda row: row["peak_mb"])
    rle = {"size": [4000, 4000], "counts": [4000 * 4000]}
    try:
        masks.decode_all([rle] * 300, 4000, 4000)
        refused = "300 masks of 4,000 x 4,000 were decoded"
    except ValueError as error:
        refused = f"refused: {error}"
    return f"largest growth: {worst['peak_mb']:.0f} MB ({worst['case']})\n{refused}"


def _row(case: str, ours: Callable, baseline: Callable, repeats: int) -> dict[str, Any]:
    _, seconds = in_turns((ours, baseline), repeats)
    return make_row(case, *seconds, peak_mb=peak_growth(ours))


def peak_growth(function: Callable[[], Any]) -> float:
    """Return the maximum growth of the process memory during a function in MB; NaN if unknown.

    Freed memory is first returned to the system, so that its reuse is counted; this does not affect
    the arenas of ONNX Runtime and PyTorch.
    """
    with contextlib.suppress(AttributeError, OSError):  # C libraries other than glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    except OSError:
        return float("nan")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1e3


def _status(key: str) -> float:
    """Return an entry of /proc/self/status in kilobytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return float(line.split()[1])
    return float("nan")


# --- large files


def _files(folder: Path, images: int, repeats: int) -> Iterator[dict[str, Any]]:
    paths = _write(folder, images)
    instances, instaorder, cls, results = (paths[k] for k in ("i", "o", "cls", "r"))
    yield _row(
        f"read instaorder/{images} images",
        lambda: load_instaorder(instaorder, instances, ""),
        lambda: _plain_instaorder(instaorder, instances),
        repeats,
    )
    yield _row(
        f"read cocoa_cls/{images} images",
        lambda: load_cocoa_cls(cls, ""),
        lambda: _plain_coco(cls),
        repeats,
    )
    yield _row(
        f"read results/{images} images",
        lambda: io.load_results(results),
        lambda: json.loads(results.read_text(encoding="utf-8")),
        repeats,
    )
    rng = np.random.default_rng(0)
    gt = [_random_order(rng, PER_IMAGE) for _ in range(images)]
    pred = [_random_order(rng, PER_IMAGE) for _ in range(images)]
    yield _row(
        f"occlusion scores/{images} images",
        lambda: metrics.occlusion_scores(gt, pred),
        lambda: _loop_scores(gt, pred),
        repeats,
    )


def _random_order(rng: np.random.Generator, count: int) -> np.ndarray:
    occ = (rng.random((count, count)) < 0.2).astype(np.int8)
    np.fill_diagonal(occ, 0)
    return occ


def _write(folder: Path, images: int) -> dict[str, Path]:
    """Write random instances as InstaOrder with COCO, as COCOA-cls, and as results."""
    rng = np.random.default_rng(1)
    size = (96, 128)
    rles = []
    for _ in range(50):
        mask = np.zeros(size, np.uint8)
        points = rng.integers(0, 96, (7, 1, 2)).astype(np.int32)
        rles.append(masks.encode(cv2.fillPoly(mask, [points], 1)))
    image_files, annotations, entries, results = [], [], [], []
    for k in range(images):
        image_files.append({"id": k, "file_name": f"{k}.png", "height": size[0], "width": size[1]})
        ids = list(range(k * PER_IMAGE, (k + 1) * PER_IMAGE))
        occ = _random_order(rng, PER_IMAGE)
        for number in ids:
            annotations.append(
                {"id": number, "image_id": k, "category_id": 1, "bbox": [1, 1, 90, 90],
                 "segmentation": rles[int(rng.integers(50))], "area": 100, "iscrowd": 0}
            )  # fmt: skip
        items = order.occlusion_to_instaorder(occ)
        entries.append({"image_id": k, "instance_ids": ids, "occlusion": items})
        results.append(_result(k, size, annotations[-PER_IMAGE:], occ))
    coco = {
        "images": image_files,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "x"}],
    }
    contents = {
        "i": coco,
        "cls": coco,
        "o": {"annotations": entries},
        "r": {"format": io.FORMAT, "images": results},
    }
    paths = {key: folder / f"{key}.json" for key in contents}
    for key, content in contents.items():
        paths[key].write_text(json.dumps(content), encoding="utf-8")
    return paths


def _result(image_id: int, size: tuple[int, int], annotations: list, occ: np.ndarray) -> dict:
    instances = [
        {"id": a["id"], "category_id": 1, "score": 0.5, "segmentation": a["segmentation"]}
        for a in annotations
    ]
    edges = [[int(i), int(j), 1.0] for i, j in order.edges_from_occlusion(occ)]
    return {
        "image_id": image_id,
        "height": size[0],
        "width": size[1],
        "instances": instances,
        "occlusion": edges,
        "cycles": order.cycles(occ),
    }


def _plain_coco(path: Path) -> dict[int, list]:
    """Return annotations by image, without checks."""
    data = json.loads(path.read_text(encoding="utf-8"))
    found: dict[int, list] = {image["id"]: [] for image in data["images"]}
    for annotation in data["annotations"]:
        found[annotation["image_id"]].append(annotation)
    return found


def _plain_instaorder(order_json: Path, instances_json: Path) -> list[np.ndarray]:
    """Fill the matrices naively, without checks."""
    _plain_coco(instances_json)
    result = []
    for entry in json.loads(order_json.read_text(encoding="utf-8"))["annotations"]:
        n = len(entry["instance_ids"])
        occ = np.zeros((n, n), np.int8)
        for item in entry["occlusion"]:
            for part in item["order"].split(" & "):
                i, j = part.split("<")
                occ[int(i), int(j)] = 1
        result.append(occ)
    return result


def _loop_scores(gt: list[np.ndarray], pred: list[np.ndarray]) -> tuple[float, float]:
    hits = found = there = 0
    for truth, said in zip(gt, pred, strict=True):
        for i in range(len(truth)):
            for j in range(len(truth)):
                if i != j and truth[i, j] >= 0:
                    hits += truth[i, j] == 1 and said[i, j] == 1
                    found += said[i, j] == 1
                    there += truth[i, j] == 1
    return hits / there, hits / found


# --- many instances


def _instances(count: int, repeats: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(count)
    stack = np.zeros((count, 480, 640), bool)
    for mask in stack:
        y, x = rng.integers(0, 440), rng.integers(0, 580)
        mask[y : y + rng.integers(8, 40), x : x + rng.integers(8, 60)] = True
    yield _row(
        f"bordering/{count} instances",
        lambda: masks.bordering_pairs(stack),
        lambda: _dilated_pairs(stack),
        1 if count > 100 else repeats,
    )
    occ = _random_order(rng, count)
    occ[rng.random(occ.shape) < 0.9] = 0
    yield _row(
        f"layers/{count} instances",
        lambda: order.layers(occ),
        lambda: _networkx_layers(occ),
        repeats,
    )


def _dilated_pairs(stack: np.ndarray) -> np.ndarray:
    """Dilate one mask of each pair over the whole image, as in the published code."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    grown = [cv2.dilate(mask.view(np.uint8), cross).view(bool) for mask in stack]
    result = np.zeros((len(stack),) * 2, bool)
    for i in range(len(stack)):
        for j in range(i + 1, len(stack)):
            result[i, j] = result[j, i] = (grown[i] & stack[j]).any()
    return result


def _networkx_layers(occ: np.ndarray) -> np.ndarray:
    graph = nx.condensation(nx.from_numpy_array(occ, create_using=nx.DiGraph))
    found = np.zeros(len(occ), int)
    for level, nodes in enumerate(nx.topological_generations(graph)):
        for node in nodes:
            found[list(graph.nodes[node]["members"])] = level
    return found


# --- large images


def _large(side: int, repeats: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(2)
    rles = []
    for _ in range(20):
        mask = np.zeros((side, side), np.uint8)
        points = rng.integers(0, side, (9, 1, 2)).astype(np.int32)
        rles.append(masks.encode(cv2.fillPoly(mask, [points], 1)))
    yield _row(
        f"decode 20 masks/{side} px",
        lambda: masks.decode_all(rles, side, side),
        lambda: coco_mask.decode(rles),
        repeats,
    )
    whole, quarter = (
        make_scene(SceneClass((s, s), 12, 0.05, 0.02, 0.01, 40), 0) for s in (side, side // 2)
    )
    crf.solve(*quarter, max_jumps=1)  # compile
    started = time.process_time()
    peak = peak_growth(lambda: crf.solve(*whole, bound="constant"))
    ours = time.process_time() - started
    started = time.process_time()
    crf.solve(*quarter, bound="constant")
    baseline = time.process_time() - started
    yield make_row(f"crf/{side} px beside {side // 2} px", ours, baseline, peak_mb=peak)
