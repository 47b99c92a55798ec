"""Writing of generated scenes in the formats of the real data sets, resumable.

`scene_parameters` defines a data set, `make` writes it. The command is occ-order scenes, whose help
shows the layout of the folder; `occ_order.formats.builtin` registers the data sets below
`$DETECTRON2_DATASETS/scenes`.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from occ_order.files import atomic_writer
from occ_order.formats import save_diw, save_kitti_depth, write_depth_png
from occ_order.formats.table import standard
from occ_order.formats.write_composed import (
    add_libraries,
    composed_annotation_files,
    is_composed,
    library_of,
    write_composed_annotations,
)
from occ_order.scenes import CLASSES, VERSION, Scene, draw_size, generate, scene_seed, to_record
from occ_order.scenes.photographs import Library, compose

SPLITS = ("train", "val")
CATEGORIES = [{"id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
CHUNK = 20  # scenes per job; an interruption loses at most the unfinished jobs
_MATRICES = {"occlusion": np.int8, "depth": np.int8, "overlap": np.int8, "count": np.int16}


def scene_parameters(
    *,
    train: int = 0,
    val: int = 0,
    seed: int = 0,
    size: Sequence[int] = (256, 256),
    size_is_range: bool = False,
    instances: Sequence[int] = (3, 10),
    classes: Sequence[str] | None = None,
    interlocked: float = 0.18,
    cyclic: float = 0.0,
    texture: float = 1.0,
    jpeg: int | None = None,
) -> dict[str, Any]:
    """Return the parameters of a data set of scenes, JSON-serializable.

    Args:
        train, val: numbers of images.
        seed: random seed.
        size: (height, width) in pixels, or the range from which both are sampled.
        size_is_range: whether `size` is a range.
        instances, classes, interlocked, cyclic, texture: see `occ_order.scenes.generate`.
        jpeg: quality of JPEG images in [1, 100]; None writes PNG.

    Raises:
        ValueError: a value is out of range.
    """
    parameters = {
        "generator": VERSION,
        "train": train,
        "val": val,
        "seed": seed,
        "size": list(size),
        "size_is_range": size_is_range,
        "instances": list(instances),
        "classes": list(classes) if classes else None,
        "interlocked": interlocked,
        "cyclic": cyclic,
        "jpeg": jpeg,
    }
    if texture != 1.0:  # left out if 1, for compatibility with data sets older than this parameter
        parameters["texture"] = texture
    if min(train, val, seed) < 0:
        raise ValueError(f"train, val and seed must not be negative, got {train}, {val} and {seed}")
    if jpeg is not None and not 1 <= jpeg <= 100:
        raise ValueError(f"jpeg must be in [1, 100], got {jpeg}")
    make_scene(parameters, "train", 0)  # checks the rest before anything is written
    return parameters


def make_scene(
    parameters: dict[str, Any], split: str, index: int, *, library: Library | None = None
) -> Scene:
    """Generate scene ``index`` (from 0) of a split, independent of other scenes.

    Args:
        parameters: parameters of the data set.
        split: "train" or "val".
        index: index of the scene.
        library: library of the split, for composed photographs.
    """
    seed = scene_seed(parameters["seed"], 2 * index + SPLITS.index(split))
    if library is not None:
        return compose(library, seed, size=parameters["size"])
    low, high = parameters["size"]
    size = draw_size(seed, (low, high)) if parameters["size_is_range"] else (low, high)
    return generate(
        seed,
        size=size,
        num_instances=tuple(parameters["instances"]),
        classes=parameters["classes"],
        interlocked=parameters["interlocked"],
        cyclic=parameters["cyclic"],
        texture=parameters.get("texture", 1.0),
    )


def _encode(image: np.ndarray, quality: int | None) -> bytes:
    flags = [] if quality is None else [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(".png" if quality is None else ".jpg", image[..., ::-1], flags)
    assert done
    return data.tobytes()


def _replace(path: Path, data: bytes) -> None:
    """Write a file atomically, without synchronizing to disk, since there are many."""
    with atomic_writer(path, "wb", sync=False) as file:
        file.write(data)


def point_pair(disparity: np.ndarray, seed: int) -> dict[str, Any] | None:
    """Sample two pixels whose depths differ by more than a tenth, as annotated in DIW.

    Args:
        disparity: float32 (H, W), 1 / depth, positive.
        seed: seed of the scene.

    Returns:
        ``{"point_a": (y, x), "point_b": (y, x), "relation": "<" (A closer) or ">"}``; None where
        fifty draws find no such pair.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 2])))
    height, width = disparity.shape
    for _ in range(50):
        rows, cols = rng.integers(0, height, size=2), rng.integers(0, width, size=2)
        a, b = (float(disparity[y, x]) for y, x in zip(rows, cols, strict=True))
        if max(a, b) > 1.1 * min(a, b):
            points = [(int(y), int(x)) for y, x in zip(rows, cols, strict=True)]
            return {"point_a": points[0], "point_b": points[1], "relation": "<" if a > b else ">"}
    return None


def write_scene(output: Path, parameters: dict[str, Any], split: str, index: int) -> dict[str, Any]:
    """Write the image and the depth map of one scene.

    Returns:
        ``{"record": record without folder and with lists for matrices, "pair": point pair or None,
        "sha256": of the two files' bytes}``.
    """
    library = library_of(output, split) if is_composed(parameters) else None
    scene = make_scene(parameters, split, index, library=library)
    suffix = ".png" if parameters["jpeg"] is None else ".jpg"
    stem = f"{index + 1:06d}"
    pixels = _encode(scene.image, parameters["jpeg"])
    _replace(output / split / "images" / (stem + suffix), pixels)
    digest = hashlib.sha256(pixels)
    record = to_record(scene, image_id=index + 1, file_name=stem + suffix)
    record.update({key: record[key].tolist() for key in _MATRICES})
    pair = None
    if scene.disparity is not None:
        depth_file = output / split / "depth" / (stem + ".png")
        write_depth_png(depth_file, 1.0 / scene.disparity.astype(np.float64))
        digest.update(depth_file.read_bytes())
        seed = scene_seed(parameters["seed"], 2 * index + SPLITS.index(split))
        pair = point_pair(scene.disparity, seed)
    return {"record": record, "pair": pair, "sha256": digest.hexdigest()}


def _write_chunk(job: tuple[str, dict[str, Any], str, int, int]) -> int:
    """Write scenes [first, last), then their records, which mark the chunk as complete."""
    output, parameters, split, first, last = job
    cv2.setNumThreads(1)
    results = [write_scene(Path(output), parameters, split, k) for k in range(first, last)]
    done = json.dumps(results).encode()
    _replace(_chunk_file(Path(output), split, first), done)
    return last - first


def _chunk_file(output: Path, split: str, first: int) -> Path:
    return output / ".partial" / f"{split}_{first:06d}.json"


def state_of(output: Path, parameters: dict[str, Any]) -> str:
    """Return ``"new"``, ``"unfinished"`` or ``"complete"``.

    Raises:
        ValueError: the folder has other files, or scenes with other parameters.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"{output} is not a folder")
    if not output.exists() or not any(output.iterdir()):
        return "new"
    file = output / "scenes.json"
    if not file.is_file():
        raise ValueError(f"{output} is not empty and has no scenes.json: choose another folder")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        known = dict(stored["parameters"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}): delete the folder or choose another"
        ) from error
    wrong = sorted(k for k in {*known, *parameters} if known.get(k) != parameters.get(k))
    if wrong:
        found = ", ".join(f"{k}: {known.get(k)!r} there, {parameters.get(k)!r} now" for k in wrong)
        raise ValueError(
            f"{output} was made with other parameters ({found}); choose another folder"
        )
    return "complete" if stored.get("sha256") and not _missing(output, parameters) else "unfinished"


def _missing(output: Path, parameters: dict[str, Any]) -> list[str]:
    names = []
    for split in SPLITS:
        names += [f"annotations/{n}" for n in _annotation_files(parameters, split).values()]
        names += _images(parameters, split, range(parameters[split]))
    return [name for name in names if not (output / name).is_file()]


def _images(parameters: dict[str, Any], split: str, indices: Iterable[int]) -> list[str]:
    """Return the names of the images and of their depth maps, if any."""
    suffix = ".png" if parameters["jpeg"] is None else ".jpg"
    stems = [f"{k + 1:06d}" for k in indices]
    depth = [] if is_composed(parameters) else [f"{split}/depth/{stem}.png" for stem in stems]
    return [f"{split}/images/{stem}{suffix}" for stem in stems] + depth


def _annotation_files(parameters: dict[str, Any], split: str) -> dict[str, str]:
    if is_composed(parameters):
        return composed_annotation_files(split, parameters["formats"])
    return annotation_files(split)


def annotation_files(split: str) -> dict[str, str]:
    """Names of the files in ``annotations/``: of each format, and what InstaOrder refers to."""
    names = {}
    for row in standard():
        first, *others = (path.name for path in row.paths_in(Path(), f"_{split}"))
        names.update({Path(name).stem.removesuffix(f"_{split}"): name for name in others})
        names[row.name] = first
    return {**names, "diw": f"diw_{split}.csv", "kitti": f"kitti_{split}.txt"}


def write_annotations(output: Path, split: str, results: list[dict[str, Any]]) -> None:
    """Write all annotation files of a split from the results of :func:`write_scene`."""
    root, images = output / split, output / split / "images"
    files = {k: output / "annotations" / v for k, v in annotation_files(split).items()}
    records = []
    for result in results:
        record = dict(result["record"], file_name=str(images / result["record"]["file_name"]))
        size = len(record["annotations"])
        for key, kind in _MATRICES.items():
            record[key] = np.array(record[key], dtype=kind).reshape(size, size)
        records.append(record)
    front = [front_to_back(record) for record in records]
    for row in standard():
        # Amodal formats list the instances front to back, as in the published files.
        given = front if row.needs_whole else records
        paths = row.paths_in(output / "annotations", f"_{split}")
        assert row.save is not None  # standard formats are saved
        row.save(given, *paths, CATEGORIES, image_root=images)
    names = [record["file_name"] for record in records]
    pairs = [
        dict(result["pair"], file_name=name)
        for result, name in zip(results, names, strict=True)
        if result["pair"] is not None
    ]
    save_diw(pairs, files["diw"], image_root=root)
    depth = [str(root / "depth" / (Path(name).stem + ".png")) for name in names]
    entries = [{"file_name": a, "depth_file_name": b} for a, b in zip(names, depth, strict=True)]
    save_kitti_depth(entries, files["kitti"], root=root, rgb_dir="images", depth_dir="depth")


def front_to_back(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record with its annotations (and matrices) in the order of their ids."""
    rows = np.argsort([annotation["id"] for annotation in record["annotations"]], kind="stable")
    rows = rows.astype(np.int64)
    sorted_matrices = {key: record[key][np.ix_(rows, rows)] for key in _MATRICES}
    return dict(record, annotations=[record["annotations"][k] for k in rows], **sorted_matrices)


def make(output: str | os.PathLike, parameters: dict[str, Any], *, workers: int = 1) -> bool:
    """Write the data set, or finish an interrupted one.

    Args:
        output: folder.
        parameters: from :func:`scene_parameters`.
        workers: processes; the result does not depend on it.

    Returns:
        False if it was already complete.

    Raises:
        ValueError: the folder cannot be used (see :func:`state_of`), or photographs to compose
            from cannot be read.
        OSError: there are no such photographs.
    """
    output = Path(output)
    state = state_of(output, parameters)
    if state == "complete":
        return False
    output.mkdir(parents=True, exist_ok=True)
    _write_state(output, parameters)  # first, so that an interrupted run can be resumed
    kinds = ("images",) if is_composed(parameters) else ("images", "depth")
    folders = [f"{split}/{kind}" for split in SPLITS for kind in kinds]
    for folder in (*folders, "annotations", ".partial"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    if is_composed(parameters):
        try:
            add_libraries(output, parameters, workers)
        except (ValueError, OSError):
            if state == "new":  # nothing is left of what cannot be made
                shutil.rmtree(output)
            raise
    _write_chunks(output, parameters, workers)
    digest = hashlib.sha256()
    for split in SPLITS:
        results = []
        for first in range(0, parameters[split], CHUNK):
            results += json.loads(_chunk_file(output, split, first).read_bytes())
        if is_composed(parameters):
            write_composed_annotations(output, split, results, parameters)
        else:
            write_annotations(output, split, results)
        digest.update("".join(result["sha256"] for result in results).encode())
        for name in _annotation_files(parameters, split).values():
            digest.update((output / "annotations" / name).read_bytes())
    _write_state(output, parameters, sha256=digest.hexdigest())
    shutil.rmtree(output / ".partial")
    return True


def _write_state(output: Path, parameters: dict[str, Any], **more: Any) -> None:
    state = {"format": "occ_order_scenes/1", "parameters": parameters, **more}
    _replace(output / "scenes.json", (json.dumps(state, indent=2) + "\n").encode())


def _write_chunks(output: Path, parameters: dict[str, Any], workers: int) -> None:
    """Write the missing chunks."""
    jobs = []
    for split in SPLITS:
        for first in range(0, parameters[split], CHUNK):
            last = min(first + CHUNK, parameters[split])
            jobs.append((str(output), parameters, split, first, last))
    waiting = [job for job in jobs if not _chunk_is_there(output, parameters, job)]
    total = sum(job[4] - job[3] for job in jobs)
    there = total - sum(job[4] - job[3] for job in waiting)
    with tqdm(total=total, initial=there, unit="scene", desc="scenes") as bar:
        if workers <= 1:
            for job in waiting:
                bar.update(_write_chunk(job))
            return
        context = multiprocessing.get_context("spawn")  # OpenCV's threads do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for done in pool.map(_write_chunk, waiting):
                bar.update(done)


def _chunk_is_there(output: Path, parameters: dict[str, Any], job: tuple) -> bool:
    _, _, split, first, last = job
    names = _images(parameters, split, range(first, last))
    files = [_chunk_file(output, split, first), *(output / name for name in names)]
    return all(file.is_file() for file in files)
