"""`occ-order predict --shard I/N` and `--engine ray`: distributed prediction of a collection.

:mod:`occ_order.engine.collection` keeps results in parts, so that a run can be interrupted and
resumed; :mod:`occ_order.engine.on_ray` distributes the parts with Ray. Each image is processed by
:mod:`occ_order.commands.predict_image`.
"""

from __future__ import annotations

import argparse
import functools
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import occ_order
from occ_order import model_zoo
from occ_order.commands.inputs import Input, find_inputs, images_of
from occ_order.commands.predict_image import (
    build_predict,
    free_id,
    result_of,
    tell_failure,
)
from occ_order.commands.progress import progress
from occ_order.detectors.sources import kind_of
from occ_order.engine import collection
from occ_order.engine.collection import Entry, digest
from occ_order.files import folder_lock, sha256_of
from occ_order.formats.user_masks import pages_of
from occ_order.front import Photographs, says_nothing

Work = Callable[[Sequence[Input]], tuple[str, list[Entry]]]
"""Maps the images of a part to the description of the models and an entry for each image."""

ASKED = (
    "score_threshold",
    "amodal",
    "beyond_frame",
    "acyclic",
    "keep_crowds",
    "skip_damaged",
    "backend",
)
"""Options that affect the results."""


def entry_of(chain: Photographs, one: Input, options: argparse.Namespace) -> Entry:
    """Return the result of an image and the digest of its file, or the error."""
    try:
        result, content = result_of(chain, one, options), one.sha256()
    except (ValueError, OSError) as error:
        unread = isinstance(error, OSError)
        where = f" (on {socket.gethostname()})" if unread else ""
        return {"name": one.name, "error": f"{error}{where}", "again": unread}
    return {
        "name": one.name,
        "sha256": content,
        "image_id": result.image_id,
        "result": None if says_nothing(result) else result.to_dict(),
    }


def build_work(options: argparse.Namespace, folder: str) -> Work:
    """Load the models in the predicting process.

    Args:
        options: options of `occ-order predict`.
        folder: working directory of the command, base of relative paths.

    Raises:
        OSError: the folder or the masks do not exist on this machine.
    """
    os.chdir(folder)
    if options.masks and not options.masks.exists():
        raise FileNotFoundError(f"{options.masks} does not exist on {socket.gethostname()}")
    chain = build_predict(options)
    about = chain.about(masks=options.masks is not None)

    def work(inputs: Sequence[Input]) -> tuple[str, list[Entry]]:
        return about, [entry_of(chain, one, options) for one in images_of(inputs)]

    return work


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Return digests of everything the results depend on except images: options, models, files."""
    said = {key: getattr(options, key) for key in ASKED if getattr(options, key) is not None}
    known: dict[str, object] = {"version": occ_order.__version__, "options": said}
    names = [options.model or model_zoo.ORDERS_MASKS]
    names += [model_zoo.FINDS_INSTANCES, model_zoo.COMPLETES_MASKS]
    if options.detector:
        kind, name = kind_of(options.detector)
        known["detector"] = options.detector if kind != "file" else masks_digest(Path(name))
        names += [name] if kind == "zoo" else []
        if os.path.isfile(name):
            known["detector"] = sha256_of(name)
    known["models"] = {name: model_zoo.row(name)["sha256"] for name in names}
    if options.detector_weights:
        known["detector_weights"] = sha256_of(options.detector_weights)
    if options.names_from:
        known["names_from"] = sha256_of(options.names_from)
    if options.masks:
        known["masks"] = masks_digest(options.masks)
    return known | (config_digests(options) if options.config_file else {})


def config_digests(options: argparse.Namespace) -> dict[str, object]:
    """Return digests of a config and of all files that it names."""
    from occ_order.config import load_cfg
    from occ_order.config.files import leaves

    cfg = load_cfg(options.config_file, options.opts)
    cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""  # these do not affect the results
    found = {key: sha256_of(value) for key, value in leaves(cfg) if is_file(value)}
    for key in found:  # by content, independent of the location
        cfg.merge_from_list([key, ""])
    return {"config": digest(cfg.dump()), "config_files": found}


def masks_digest(path: Path) -> str:
    """Return a digest of a file of masks, or of the names and contents of the files in a folder."""
    if path.is_file():
        return sha256_of(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest([(file.relative_to(path).as_posix(), sha256_of(file)) for file in files])


def is_file(value: object) -> bool:
    """Return whether a value is the path of an existing file."""
    return isinstance(value, str) and value != "" and os.path.isfile(value)


def worked_on(
    parts: Sequence[Sequence[Input]], options: argparse.Namespace
) -> Iterator[tuple[int, tuple[str, list[Entry]]]]:
    """Yield the index of each part and the result of `Work`, computed locally or on a cluster."""
    plain = argparse.Namespace(**vars(options))
    del plain.check, plain.parser  # functions, which cannot be pickled
    build = functools.partial(build_work, plain, os.getcwd())
    if options.engine == "ray":
        from occ_order.engine.on_ray import spread

        yield from spread(
            parts,
            build,
            address=options.address,
            workers=options.workers,
            gpu=options.device.startswith("cuda"),
        )
    elif parts:
        yield from enumerate(map(build(), parts))


def run(options: argparse.Namespace) -> int:
    """Predict missing parts, and merge when all exist; return the exit status."""
    inputs = find_inputs(options.input, options.column)
    videos = [str(one.file) for one in inputs if one.is_video]
    if videos:
        raise ValueError(f"{videos[0]}: videos require a single process: omit --engine and --shard")
    if options.masks and options.masks.is_file():
        pages_of(options.masks)  # an invalid file of masks is an error of the run
    plan = collection.make_plan(
        [(one.file_name, one.size) for one in inputs],
        part_size=options.part_size,
        settings=settings_of(options),
    )
    alone = options.engine is not None  # shards use the folder concurrently
    with folder_lock(options.output) if alone else nullcontext():
        collection.start(options.output, plan)
        parts = collection.parts_of(inputs, options.part_size)
        for k in own(options, range(len(parts))):
            files = [one.file if one.place is None else None for one in parts[k]]
            collection.check_images(options.output, k, files, plan=digest(plan))
        predict_missing(parts, digest(plan), options)
        return joined(parts, digest(plan), options.output)


def own(options: argparse.Namespace, parts: Iterable[int]) -> list[int]:
    """Return the indices of those parts that are of this shard."""
    shard, shards = options.shard or (0, 1)
    return [k for k in parts if k % shards == shard]


def predict_missing(
    parts: Sequence[Sequence[Input]], plan: str, options: argparse.Namespace
) -> None:
    """Predict and write the missing parts of this shard."""
    todo = own(options, collection.missing(options.output, len(parts)))
    told = False
    made = worked_on([parts[k] for k in todo], options)
    for place, (about, entries) in progress(made, "predict", total=len(todo), unit="part"):
        if not told:
            print(about, flush=True)
            told = True
        collection.write_part(options.output, todo[place], entries, plan=plan)


def joined(parts: Sequence[Sequence[Input]], plan: str, output: Path) -> int:
    """Write `order_results.json` if all parts exist; return the exit status."""
    names = [[one.name for one in part] for part in parts]
    found = collection.merge(output, names, free_id, plan=plan)
    if found is None:
        left = len(collection.missing(output, len(parts)))
        print(f"{output}: {left} of {len(parts)} parts are missing")
        return 0
    done, failed = found
    files = {one.name: str(one.file) for part in parts for one in part}
    for entry in failed:
        tell_failure(files[entry["name"]], entry["error"])
    print(f"{output}: {done} images, {len(failed)} failed")
    return 1 if failed else 0
