"""Results on disk: ``order_results.json``, and order graphs as GraphML, DOT and CSV.

The JSON file, format ``occ_order/1``::

    {"format": "occ_order/1", "images": [
      {"image_id": 7, "height": 480, "width": 640,
       "instances": [{"id": 1, "category_id": 3, "score": 0.9,
                      "segmentation": RLE (modal), "amodal_segmentation": RLE,
                      "layer": 0, "relative_depth": 2}, ...],
       "occlusion": [[0, 1, 0.93], ...],                  # [occluder, occludee, probability]
       "occlusion_unknown": [[0, 2], ...],                # directed pairs of unknown occlusion
       "depth": [[0, 1, "closer", "distinct", 0.8], ...], # [i, j, relation, range, probability]
       "cycles": [[2, 4, 5], ...]}]}                      # strongly connected components

Indices are 0-based positions in ``instances``. ``amodal_segmentation``, ``layer``,
``relative_depth``, ``occlusion_unknown``, the range of a depth entry ("distinct" or "overlap") and
the texts ``file_name`` of an image, ``category`` and ``name`` of an instance are optional. If
``occlusion`` (with ``cycles``) or ``depth`` is missing, that order was not predicted; an empty list
means that there are no relations. A directed pair without an occlusion entry does not occlude.
Depth ``[i, j, "closer", ...]`` means that i is closer than j, ``"equal"`` that they are equally
far; each pair is listed once, and a missing pair is unknown. Other keys are kept. In memory an
image is the same dict.

Files are written atomically.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import masks
from occ_order.files import append_whole, atomic_writer, naming, read_text, show
from occ_order.order import graph
from occ_order.order.encoding import (
    CLOSER,
    DEPTH_REVERSED,
    DISTINCT,
    EQUAL,
    FARTHER,
    OVERLAPPING,
    UNKNOWN,
    check_depth,
    check_occlusion,
    edges_from_occlusion,
    empty_depth,
    empty_occlusion,
)

FORMAT = "occ_order/1"

_RELATIONS = {"closer": CLOSER, "equal": EQUAL}
_RANGES = {"distinct": DISTINCT, "overlap": OVERLAPPING}
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CSV_FIELDS = ("image_id", "relation", "first", "second", "range", "probability")


# --- conversion between arrays and the dict of one image -----------------------------------


def results_image(
    *,
    image_id: int | str,
    height: int,
    width: int,
    modal: np.ndarray,
    classes: Sequence[int],
    scores: Sequence[float],
    occlusion: np.ndarray | None = None,
    occlusion_prob: np.ndarray | None = None,
    depth: np.ndarray | None = None,
    overlap: np.ndarray | None = None,
    depth_prob: np.ndarray | None = None,
    amodal: np.ndarray | None = None,
    ids: Sequence[int | str] | None = None,
) -> dict[str, Any]:
    """Convert the results of one image from arrays to a dict.

    Args:
        image_id: as in the data set.
        height: H in pixels.
        width: W in pixels.
        modal: (N, H, W) visible masks, nonzero = inside.
        classes: N category ids to write to the file.
        scores: N finite numbers, any scale.
        occlusion: (N, N) occlusion matrix; layers, relative depth and cycles are filled in from it.
        occlusion_prob: (N, N), ``[i, j]`` = probability in [0, 1] that i occludes j; by default 1.
        depth: (N, N) depth matrix.
        overlap: (N, N) overlap of the depth ranges.
        depth_prob: (N, N), ``[i, j]`` for i < j = probability in [0, 1] of the relation that
            ``depth`` gives to i and j; by default 1.
        amodal: (N, H, W) amodal masks.
        ids: N instance ids; default: 1 .. N.

    Returns:
        Dict of plain Python values, valid for :func:`save_results`.

    Raises:
        ValueError: an invalid shape or value; names the image.
    """
    n, where = len(modal), f"image {image_id!r}"
    ids = list(range(1, n + 1)) if ids is None else list(ids)
    for what, values in (("classes", classes), ("scores", scores), ("ids", ids)):
        if len(values) != n:
            raise ValueError(f"{where}: got {len(values)} {what} for {n} instances")
    for what, stack in (("modal", modal), ("amodal", amodal)):
        if stack is not None and np.shape(stack) != (n, height, width):
            raise ValueError(f"{where}: {what} must be {(n, height, width)}, got {np.shape(stack)}")
    instances: list[dict[str, Any]] = [
        {"id": ids[k], "category_id": classes[k], "score": scores[k]} for k in range(n)
    ]
    for k, instance in enumerate(instances):
        instance["segmentation"] = masks.encode(modal[k])
        if amodal is not None:
            instance["amodal_segmentation"] = masks.encode(amodal[k])
    image = {"image_id": image_id, "height": height, "width": width, "instances": instances}
    if occlusion is not None:
        _fill_occlusion(image, _sized(occlusion, n, where), occlusion_prob, where)
    if depth is not None:
        _fill_depth(image, _sized(depth, n, where), overlap, depth_prob, where)
    image = _plain(image)
    check_image(image)
    return image


def matrices(
    image: Mapping[str, Any],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return the order matrices of one image.

    Args:
        image: dict of one image, from :func:`results_image` or :func:`load_results`.

    Returns:
        occlusion int8 (N, N) or None if the image has no ``occlusion``; depth int8 (N, N) and
        overlap int8 (N, N), both None if it has no ``depth``.
    """
    n = len(image["instances"])
    occ = depth = overlap = None
    if "occlusion" in image:
        occ = empty_occlusion(n)
        for i, j, _ in image["occlusion"]:
            occ[i, j] = 1
        for i, j in image.get("occlusion_unknown", ()):
            occ[i, j] = UNKNOWN
    if "depth" in image:
        depth, overlap, _ = empty_depth(n)
        for i, j, relation, *rest in image["depth"]:
            depth[i, j] = _RELATIONS[relation]
            depth[j, i] = DEPTH_REVERSED[depth[i, j]]
            if len(rest) == 2:
                overlap[i, j] = overlap[j, i] = _RANGES[rest[0]]
    return occ, depth, overlap


def probabilities(image: Mapping[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the probabilities of the relations of one image.

    Args:
        image: dict of one image.

    Returns:
        occlusion_prob, float64 (N, N): probability that the row occludes the column, NaN without
        an edge; None without ``occlusion``. depth_prob, float64 (N, N), symmetric: probability of
        the depth relation, NaN if unknown; None without ``depth``.
    """
    n = len(image["instances"])
    occ_prob = depth_prob = None
    if "occlusion" in image:
        occ_prob = np.full((n, n), np.nan)
        for i, j, probability in image["occlusion"]:
            occ_prob[i, j] = probability
    if "depth" in image:
        depth_prob = np.full((n, n), np.nan)
        for i, j, *_, probability in image["depth"]:
            depth_prob[i, j] = depth_prob[j, i] = probability
    return occ_prob, depth_prob


def _fill_occlusion(
    image: dict[str, Any], occ: np.ndarray, probability: np.ndarray | None, where: str
) -> None:
    occ = check_occlusion(occ, name=f"{where}: occlusion")
    probability = _probability(probability, len(occ), f"{where}: occlusion_prob")
    image["occlusion"] = [[i, j, probability[i, j]] for i, j in edges_from_occlusion(occ)]
    if (occ == UNKNOWN).any():
        image["occlusion_unknown"] = np.argwhere(occ == UNKNOWN)
    image["cycles"] = graph.cycles(occ)
    layers, nearness = graph.layers(occ), graph.relative_depth(occ)
    for k, instance in enumerate(image["instances"]):
        instance.update(layer=layers[k], relative_depth=nearness[k])


def _fill_depth(
    image: dict[str, Any],
    depth: np.ndarray,
    overlap: np.ndarray | None,
    probability: np.ndarray | None,
    where: str,
) -> None:
    depth, overlap, _ = check_depth(depth, overlap, name=f"{where}: depth")
    probability = _probability(probability, len(depth), f"{where}: depth_prob")
    image["depth"] = entries = []
    for i, j in np.argwhere(np.triu(depth != UNKNOWN)):
        first, second = (j, i) if depth[i, j] == FARTHER else (i, j)
        entry = [first, second, "equal" if depth[i, j] == EQUAL else "closer"]
        if overlap is not None and overlap[i, j] != UNKNOWN:
            entry.append("overlap" if overlap[i, j] == OVERLAPPING else "distinct")
        entries.append([*entry, probability[i, j]])


def _sized(matrix: np.ndarray, n: int, where: str) -> np.ndarray:
    if np.shape(matrix) != (n, n):
        raise ValueError(f"{where}: order matrix must be {(n, n)}, got {np.shape(matrix)}")
    return np.asarray(matrix)


def _probability(probability: np.ndarray | None, n: int, what: str) -> np.ndarray:
    if probability is None:
        return np.ones((n, n))
    if np.shape(probability) != (n, n):
        raise ValueError(f"{what} must be {(n, n)}, got {np.shape(probability)}")
    return np.asarray(probability, dtype=np.float64)


# --- checks --------------------------------------------------------------------------------


def check_image(image: Any, *, name: str = "") -> None:
    """Check the dict of one image against the format.

    Args:
        image: the parsed JSON value to check.
        name: name of the image in error messages; default: its id.

    Raises:
        ValueError: invalid; names the image, the instance or entry, expected and actual value.
    """
    if not isinstance(image, Mapping):
        raise ValueError(f"{name or 'image'}: must be an object, got {type(image).__name__}")
    where = name or f"image {image.get('image_id')!r}"
    _require(image, ("image_id", "height", "width", "instances"), where)
    _check_id(image["image_id"], f"{where}: image_id")
    for key in ("height", "width"):
        if not _is_integer(image[key]) or image[key] < 1:
            raise ValueError(f"{where}: {key} must be a positive integer, got {show(image[key])}")
    _check_texts(image, ("file_name",), where)
    for key in ("instances", "occlusion", "occlusion_unknown", "depth", "cycles"):
        if key in image and not isinstance(image[key], (list, tuple)):
            raise ValueError(f"{where}: {key} must be a list, got {show(image[key])}")
    instances = image["instances"]
    for k, instance in enumerate(instances):
        _check_instance(instance, image["height"], image["width"], f"{where}: instance {k}")
    seen: dict[Any, int] = {}
    for k, instance in enumerate(instances):
        if instance["id"] in seen:
            raise ValueError(
                f"{where}: instances {seen[instance['id']]} and {k} have the id {instance['id']!r}"
            )
        seen[instance["id"]] = k
    _check_occlusion_entries(image, len(instances), where)
    _check_depth_entries(image.get("depth", ()), len(instances), where)
    for entry in image.get("cycles", ()):
        what = f"{where}: cycle {show(entry)}"
        if not isinstance(entry, (list, tuple)) or len(entry) < 2:
            raise ValueError(f"{what} must be a list of two or more instances")
        _check_indices(entry, len(instances), what)


def _check_instance(instance: Any, height: int, width: int, where: str) -> None:
    if not isinstance(instance, Mapping):
        raise ValueError(f"{where}: must be an object, got {type(instance).__name__}")
    _require(instance, ("id", "category_id", "score", "segmentation"), where)
    _check_id(instance["id"], f"{where}: id")
    for key in ("category_id", "layer", "relative_depth"):
        if key in instance and not _is_integer(instance[key]):
            raise ValueError(f"{where}: {key} must be an integer, got {show(instance[key])}")
    _check_texts(instance, ("category", "name"), where)
    if not _is_finite(instance["score"]):
        raise ValueError(f"{where}: score must be a finite number, got {show(instance['score'])}")
    for key in ("segmentation", "amodal_segmentation"):
        if key in instance:
            masks.check(instance[key], height, width, name=f"{where}: {key}")


def _check_occlusion_entries(image: Mapping[str, Any], n: int, where: str) -> None:
    seen = set()
    entries = [("occlusion", entry, 3) for entry in image.get("occlusion", ())]
    entries += [("occlusion_unknown", entry, 2) for entry in image.get("occlusion_unknown", ())]
    for key, entry, length in entries:
        what = f"{where}: {key} {show(entry)}"
        if not isinstance(entry, (list, tuple)) or len(entry) != length:
            form = "[i, j, probability]" if length == 3 else "[i, j]"
            raise ValueError(f"{what} must be {form}")
        _check_indices(entry[:2], n, what)
        if length == 3:
            _check_probability(entry[2], what)
        if tuple(entry[:2]) in seen:
            raise ValueError(f"{what} is given twice")
        seen.add(tuple(entry[:2]))


def _check_depth_entries(entries: Sequence[Any], n: int, where: str) -> None:
    seen = set()
    for entry in entries:
        what = f"{where}: depth {show(entry)}"
        if not isinstance(entry, (list, tuple)) or len(entry) not in (4, 5):
            raise ValueError(f"{what} must be [i, j, relation, range, probability]")
        _check_indices(entry[:2], n, what)
        if not isinstance(entry[2], str) or entry[2] not in _RELATIONS:
            raise ValueError(f"{what}: relation must be 'closer' or 'equal'")
        if len(entry) == 5 and (not isinstance(entry[3], str) or entry[3] not in _RANGES):
            raise ValueError(f"{what}: range must be 'distinct' or 'overlap'")
        _check_probability(entry[-1], what)
        if frozenset(entry[:2]) in seen:
            raise ValueError(f"{what}: the pair is given twice")
        seen.add(frozenset(entry[:2]))


def _check_indices(indices: Sequence[Any], n: int, what: str) -> None:
    for index in indices:
        if not _is_integer(index) or not 0 <= index < n:
            raise ValueError(f"{what}: {index!r} is not an index into {n} instances")
    if len(set(indices)) != len(indices):
        raise ValueError(f"{what} names an instance twice")


def _check_probability(value: Any, what: str) -> None:
    if not _is_finite(value) or not 0 <= value <= 1:
        raise ValueError(f"{what}: probability must be in [0, 1], got {show(value)}")


def _check_id(value: Any, what: str) -> None:
    if not _is_integer(value) and not (isinstance(value, str) and value):
        raise ValueError(f"{what} must be an integer or a string, got {show(value)}")


def _check_texts(mapping: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    """Check the keys that this package adds to the format."""
    for key in keys:
        if not isinstance(mapping.get(key), str | None):
            raise ValueError(f"{where}: {key!r} must be a string, got {show(mapping[key])}")


def _require(mapping: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    missing = [key for key in keys if key not in mapping]
    if missing:
        raise ValueError(f"{where}: lacks {', '.join(map(repr, missing))}")


def _is_integer(value: Any) -> bool:
    """Return whether a value is an integer in the range of int64."""
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    return integer and -(2**63) <= value < 2**63


def _is_finite(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floats
        return False


# --- the JSON file -------------------------------------------------------------------------


def save_results(path: str | os.PathLike[str], images: Sequence[Mapping[str, Any]]) -> None:
    """Write ``order_results.json``.

    NumPy numbers and arrays inside the dicts are converted. The file is written atomically.

    Args:
        path: file to write; its folder must exist.
        images: dicts of the images; may be empty.

    Raises:
        ValueError: an image is invalid (see :func:`check_image`), or two images have the same id;
            nothing is written.
        OSError: the file cannot be written; an existing file is not changed.
    """
    _write(path, results_text(images, name=str(path)))


def results_text(images: Sequence[Mapping[str, Any]], *, name: str = FORMAT) -> str:
    """Return the text of an ``order_results.json``.

    Args:
        images: dicts of the images, may be empty; NumPy numbers and arrays are converted.
        name: name of the file in error messages.

    Raises:
        ValueError: an image is invalid, or two images have the same id.
    """
    images = [_plain(image) for image in images]
    _check_images(images, name)
    return json.dumps({"format": FORMAT, "images": images}, allow_nan=False)


@contextmanager
def growing_results(path: str | os.PathLike[str]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write ``order_results.json`` image by image, for long-running predictions.

    Each image is appended as a line to ``order_results.TOKEN.jsonl`` in the same folder, which is
    converted to the JSON file when the block ends, also by an exception. If the process is killed,
    the ``.jsonl`` file remains, and :func:`load_results` reads it as well.

    Args:
        path: file to write; its folder is created if missing.

    Yields:
        A function that writes the dict of one image.

    Raises:
        ValueError: an image is invalid, or two images have the same id.
        OSError: a file cannot be written, or the disk is full; names it. The ``.jsonl`` file keeps
            the images written before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.jsonl")
    with open(lines, "xb", buffering=0) as file:

        def add(image: Mapping[str, Any]) -> None:
            image = _plain(image)
            check_image(image)
            with naming(str(lines)):
                append_whole(file, json.dumps(image, allow_nan=False).encode() + b"\n")

        try:
            yield add
        finally:
            file.close()
            save_results(path, load_results(lines))
            lines.unlink()


def load_results(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read and check an ``order_results.json``.

    Args:
        path: file written by :func:`save_results` or by hand, or a ``.jsonl`` file left by an
            interrupted :func:`growing_results`; an incomplete last line is ignored.

    Returns:
        Dicts of the images, in the order of the file, with their ids and extra keys unchanged.

    Raises:
        ValueError: not UTF-8, not JSON, another format, two images with the same id, or an invalid
            image (see :func:`check_image`); names the file, the image and the instance or entry.
        OSError: the file cannot be read.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"the number {constant} is not allowed")

    text = read_text(path)
    try:
        if Path(path).suffix == ".jsonl":
            lines = text.split("\n")[:-1]
            parsed = [json.loads(line, parse_constant=refuse) for line in lines]
            content = {"format": FORMAT, "images": parsed}
        else:
            content = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # JSONDecodeError, refuse
        raise ValueError(f"{path}: not a readable JSON file: {error}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected format {FORMAT!r}, got {found!r}")
    images = content.get("images")
    if not isinstance(images, list):
        raise ValueError(f"{path}: 'images' must be a list, got {show(images)}")
    _check_images(images, str(path))
    return images


def _check_images(images: Sequence[Any], path: str) -> None:
    seen = set()
    for k, image in enumerate(images):
        has_id = isinstance(image, Mapping) and "image_id" in image
        name = f"{path}: image {image['image_id']!r}" if has_id else f"{path}: images[{k}]"
        check_image(image, name=name)
        if image["image_id"] in seen:
            raise ValueError(f"{name}: the image id is used twice")
        seen.add(image["image_id"])


def _plain(value: Any) -> Any:
    """Convert NumPy scalars and arrays, tuples and bytes in ``value`` to plain JSON types."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist()) if isinstance(value, np.ndarray) else value.item()
    if isinstance(value, bytes):  # RLE counts of pycocotools
        return value.decode("ascii")
    return value


def _write(path: str | os.PathLike[str], text: str) -> None:
    with atomic_writer(path, make_folder=False) as file:
        file.write(text)


def save_graphml(
    path: str | os.PathLike[str],
    image: Mapping[str, Any],
    *,
    order: str = "occlusion",
    names: Sequence[str] | None = None,
) -> None:
    """Write the order graph of one image as GraphML (yEd, Gephi, networkx).

    Nodes are the indices of the instances, with attributes id, category_id, score, layer,
    relative_depth and, if given, ``name``; edges have ``relation`` and ``probability``. An "equal"
    pair of the depth graph is one edge from the lower to the higher index.

    Args:
        path: file to write.
        image: dict of one image.
        order: "occlusion" or "depth".
        names: N names of the instances; characters that XML forbids are replaced by U+FFFD.

    Raises:
        ValueError: the image has no such order, or there are not N names.
        ImportError: see `graph_library`.
    """
    nx = graph.graph_library()
    result = nx.DiGraph(image_id=str(image["image_id"]), order=order)
    edges = _graph_edges(image, order)
    for k, instance in enumerate(image["instances"]):
        keys = ("id", "category_id", "score", "layer", "relative_depth")
        result.add_node(k, **{key: instance[key] for key in keys if key in instance})
    for k, text in enumerate(_names(image, names) if names is not None else ()):
        result.nodes[k]["name"] = _NOT_XML.sub("\ufffd", text)
    for i, j, relation, probability in edges:
        result.add_edge(i, j, relation=relation, probability=float(probability))
    _write(path, "\n".join(nx.generate_graphml(result)) + "\n")


def save_dot(
    path: str | os.PathLike[str],
    image: Mapping[str, Any],
    *,
    order: str = "occlusion",
    names: Sequence[str] | None = None,
) -> None:
    """Write the order graph of one image as DOT, for Graphviz.

    Nodes are labelled with their name (default: "category_id #index"), edges with their
    probability; the nearest layer is drawn on top. Edges of equal depth have no arrowhead.

    Args:
        path: file to write.
        image: dict of one image.
        order: "occlusion" or "depth".
        names: N names of the instances; any text.

    Raises:
        ValueError: the image has no such order, or there are not N names.
    """
    title = _quoted(f"image {image['image_id']}")
    lines = [f"digraph {title} {{"]
    edges = _graph_edges(image, order)
    for k, text in enumerate(_names(image, names)):
        lines.append(f"  {k} [label={_quoted(text)}];")
    ranks: dict[int, list[int]] = {}
    for k, instance in enumerate(image["instances"]):
        if order == "occlusion" and "layer" in instance:
            ranks.setdefault(instance["layer"], []).append(k)
    for members in ranks.values():
        lines.append(f"  {{ rank=same; {' '.join(f'{k};' for k in members)} }}")
    for i, j, relation, probability in edges:
        style = ", dir=none" if relation == "equal" else ""
        lines.append(f"  {i} -> {j} [label={_quoted(f'{probability:.2f}')}{style}];")
    _write(path, "\n".join([*lines, "}"]) + "\n")


def save_edges(path: str | os.PathLike[str], images: Sequence[Mapping[str, Any]]) -> None:
    """Write the relations of many images as one CSV table.

    Columns: image_id, relation ("occludes", "closer" or "equal"), first, second (indices), range
    ("distinct", "overlap" or empty), probability. Images without relations have no rows.

    Args:
        path: file to write.
        images: dicts of the images.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(_CSV_FIELDS)
    for image in images:
        for i, j, probability in image.get("occlusion", ()):
            writer.writerow([image["image_id"], "occludes", i, j, "", repr(float(probability))])
        for i, j, relation, *rest in image.get("depth", ()):
            ranges = rest[0] if len(rest) == 2 else ""
            writer.writerow([image["image_id"], relation, i, j, ranges, repr(float(rest[-1]))])
    _write(path, buffer.getvalue())


def load_edges(path: str | os.PathLike[str]) -> dict[int | str, dict[str, list[list[Any]]]]:
    """Read a CSV table of relations.

    Args:
        path: file written by :func:`save_edges` or by hand, with a header line.

    Returns:
        ``{image_id: {"occlusion": [[i, j, probability], ...], "depth": [[i, j, relation, range,
        probability], ...]}}``, entries as in ``order_results.json``; image ids that are integers in
        decimal notation are returned as int.

    Raises:
        ValueError: another header or an invalid row; names file and line.
        OSError: the file cannot be read.
    """
    result: dict[int | str, dict[str, list[list[Any]]]] = {}
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    try:
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from None
    header = lines[0][1] if lines else None
    if header != list(_CSV_FIELDS):
        raise ValueError(f"{path}: expected the header {','.join(_CSV_FIELDS)}, got {header}")
    for number, row in lines[1:]:
        try:
            image_id, key, entry = _edge_from_row(row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        edges = result.setdefault(image_id, {"occlusion": [], "depth": []})
        edges[key].append(entry)
    return result


def _edge_from_row(row: list[str]) -> tuple[int | str, str, list[Any]]:
    if len(row) != len(_CSV_FIELDS):
        raise ValueError(f"expected {len(_CSV_FIELDS)} columns, got {len(row)}")
    image_id, relation, first, second, ranges, text = row
    if relation not in ("occludes", *_RELATIONS) or ranges not in ("", *_RANGES):
        raise ValueError(f"unknown relation {relation!r} or range {ranges!r}")
    if not (first.isdecimal() and second.isdecimal()) or int(first) == int(second):
        raise ValueError(f"expected two different indices, got {first!r} and {second!r}")
    probability = float(text)
    _check_probability(probability, f"{first},{second}")
    entry: list[Any] = [int(first), int(second)]
    key: int | str = int(image_id) if re.fullmatch(r"0|-?[1-9][0-9]*", image_id) else image_id
    if relation == "occludes":
        return key, "occlusion", [*entry, probability]
    return key, "depth", [*entry, relation, *([ranges] if ranges else []), probability]


def _graph_edges(image: Mapping[str, Any], order: str) -> list[tuple[int, int, str, float]]:
    if order not in ("occlusion", "depth"):
        raise ValueError(f"order must be 'occlusion' or 'depth', got {order!r}")
    if order not in image:
        raise ValueError(f"image {image['image_id']!r} has no {order} order")
    if order == "occlusion":
        return [(i, j, "occludes", probability) for i, j, probability in image["occlusion"]]
    return [(i, j, relation, rest[-1]) for i, j, relation, *rest in image["depth"]]


def _names(image: Mapping[str, Any], names: Sequence[str] | None) -> list[str]:
    instances = image["instances"]
    if names is None:
        return [f"{instance['category_id']} #{k}" for k, instance in enumerate(instances)]
    if len(names) != len(instances):
        raise ValueError(f"got {len(names)} names for {len(instances)} instances")
    return [str(name) for name in names]


def _quoted(text: str) -> str:
    """Return a quoted DOT string; backslashes are escaped, as Graphviz interprets them."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
