"""Writing of composed photographs: parameters, libraries, and annotation files.

Composed photographs have instances with unknown amodal masks and pairs of unknown order. Only the
format ``photos`` supports both; the other formats contain a subset of the instances in which all
required values are known:

==============  ==================================================================================
``photos``      everything
``instaorder``  all pasted objects, and regions of the photograph with known order
``cocoa``,      of these, instances with known amodal mask
``cocoa_cls``,
``kins``
==============  ==================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.formats import save_photos
from occ_order.formats.compose_sources import read_names, read_sources
from occ_order.formats.table import FORMATS, standard
from occ_order.scenes.photographs import COMPOSER, Library
from occ_order.scenes.photographs.composer import REGION_NAME

_MATRICES = {"occlusion": np.int8, "depth": np.int8, "overlap": np.int8, "count": np.int16}


def composed_formats() -> tuple[str, ...]:
    """Names of the formats that composed photographs can be written in."""
    return ("photos", *(row.name for row in standard()))


def composed_parameters(
    sources: Sequence[str],
    *,
    images: str | None = None,
    masks: str | None = None,
    assume_whole: bool = False,
    train: int = 0,
    val: int = 0,
    seed: int = 0,
    size: int = 480,
    jpeg: int | None = 92,
    formats: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the parameters of a data set of composed photographs, JSON-serializable.

    Args:
        sources, images, masks, assume_whole: see `occ_order.formats.compose_sources.read_sources`.
        train, val: numbers of images.
        seed: random seed.
        size: longer side in pixels.
        jpeg: quality of the files in [1, 100]; None writes PNG.
        formats: some of :func:`composed_formats`; all by default.

    Raises:
        ValueError: a value is out of range.
    """
    if min(train, val, seed) < 0:
        raise ValueError(f"train, val and seed must not be negative, got {train}, {val} and {seed}")
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise ValueError(f"jpeg must be in [1, 100], got {jpeg}")
    return {
        "composer": COMPOSER,
        "sources": [str(Path(source).resolve()) for source in sources],
        "source_images": None if images is None else str(Path(images).resolve()),
        "source_masks": None if masks is None else str(Path(masks).resolve()),
        "assume_whole": assume_whole,
        "train": train,
        "val": val,
        "seed": seed,
        "size": size,
        "jpeg": jpeg,
        "formats": [name for name in composed_formats() if formats is None or name in formats],
    }


def is_composed(parameters: dict[str, Any]) -> bool:
    """Return whether the parameters are those of composed photographs."""
    return "composer" in parameters


def composed_library(parameters: dict[str, Any], split: str, *, workers: int = 1) -> Library:
    """Build the library of one split in `workers` processes, with the categories of all splits."""
    records = read_sources(
        parameters["sources"],
        split,
        images=parameters["source_images"],
        masks=parameters["source_masks"],
        assume_whole=parameters["assume_whole"],
    )
    try:
        return Library.build(records, categories=_names(parameters), workers=workers)
    except ValueError as error:
        raise ValueError(f"photographs for {split}: {error}") from error


def _names(parameters: dict[str, Any]) -> list[str]:
    return read_names(parameters["sources"], masks=parameters["source_masks"])


def _library_folder(output: Path, split: str) -> Path:
    return output / ".partial" / f"library_{split}"


def add_libraries(output: Path, parameters: dict[str, Any], workers: int) -> None:
    """Build the libraries shared by the workers; those of an interrupted run are reused."""
    library_of.cache_clear()
    for split in ("train", "val"):
        folder = _library_folder(output, split)
        if parameters[split] and not (folder / "library.json").is_file():
            composed_library(parameters, split, workers=workers).save(folder)


@functools.lru_cache(maxsize=2)
def library_of(output: Path, split: str) -> Library:
    """Load a library saved by :func:`add_libraries`."""
    return Library.load(_library_folder(output, split))


def composed_annotation_files(split: str, formats: Sequence[str]) -> dict[str, str]:
    """Names of the files in ``annotations/``."""
    rows = [FORMATS[key] for key in formats]
    paths = {row.name: row.paths_in(Path(), f"_{split}") for row in rows}
    paths["photos"] = [Path(f"photos_{split}.json")]
    chosen = {key: paths[key][0].name for key in formats}
    for row in rows:
        for path in paths[row.name][1:]:
            chosen[path.stem.removesuffix(f"_{split}")] = path.name
    return chosen


def write_composed_annotations(
    output: Path, split: str, results: list[dict[str, Any]], parameters: dict[str, Any]
) -> None:
    """Write the annotation files of a split."""
    images = output / split / "images"
    named = composed_annotation_files(split, parameters["formats"])
    files = {key: output / "annotations" / name for key, name in named.items()}
    records = [_with_arrays(result["record"], images) for result in results]
    names = (*_names(parameters), REGION_NAME)
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    if "photos" in files:
        save_photos(
            records,
            files["photos"],
            categories,
            source="composed",
            split=split,
            image_root=images,
        )
    known = [with_known_order(record) for record in records]
    whole = [with_known_order(known_whole(record)) for record in records]
    for row in standard():
        if row.name in files:
            paths = row.paths_in(output / "annotations", f"_{split}")
            assert row.save is not None  # standard formats are saved
            row.save(whole if row.needs_whole else known, *paths, categories, image_root=images)


def _with_arrays(record: dict[str, Any], images: Path) -> dict[str, Any]:
    n = len(record["annotations"])
    matrices = {k: np.array(record[k], dtype).reshape(n, n) for k, dtype in _MATRICES.items()}
    record = {**record, **matrices, "file_name": str(images / record["file_name"])}
    return subset(record, np.argsort([a["id"] for a in record["annotations"]], kind="stable"))


def subset(record: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """Return the record with some of its annotations, in the order of ``rows``."""
    rows = np.asarray(rows, np.int64)
    square = np.ix_(rows, rows)
    matrices = {key: record[key][square] for key in _MATRICES}
    return {**record, "annotations": [record["annotations"][k] for k in rows], **matrices}


def known_whole(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with only the instances whose amodal masks are known."""
    known = ["amodal_segmentation" in annotation for annotation in record["annotations"]]
    return subset(record, np.flatnonzero(known))


def with_known_order(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with a subset of its instances without unknown pairs.

    The instance with the most unknown pairs is removed until there are none; ties: the first
    unnamed region, else the first instance.
    """
    unknown = (record["occlusion"] == -1) | (record["occlusion"].T == -1)
    kept = np.arange(len(unknown))
    unnamed = np.array([a["name"] == REGION_NAME for a in record["annotations"]], bool)
    while unknown[np.ix_(kept, kept)].any():
        counts = 2 * unknown[np.ix_(kept, kept)].sum(axis=1) + unnamed[kept]
        kept = np.delete(kept, int(counts.argmax()))
    return subset(record, kept)
