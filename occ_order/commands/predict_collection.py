"""`occ-order predict --shard-size N`: a large collection, on any number of workers.

A collection is one folder of images. :mod:`occ_order.engine.collection` says how the workers share
it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from occ_order import model_zoo
from occ_order.commands.inputs import Input, masks_of
from occ_order.commands.progress import progress
from occ_order.config import introduce, load_cfg
from occ_order.config.files import leaves
from occ_order.engine.collection import (
    Predict,
    digest,
    make_plan,
    merge,
    predict_shards,
    shards,
    start,
    worker_of_environment,
)
from occ_order.engine.predictor import OrderPredictor
from occ_order.files import UnreadableImageError, as_image, list_images, sha256_of
from occ_order.formats.user_masks import pages_of


def device_of(wish: str) -> str:
    """`cuda` becomes this worker's own GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if wish == "cuda" else wish


def build_predict(options: argparse.Namespace) -> Predict:
    """From a file to the dict of one image; its id is that of the file of masks, else its name."""
    device = device_of(options.device)
    if options.model:
        predictor = OrderPredictor.from_zoo(options.model, device=device)
    else:
        opts = [*options.opts, "MODEL.DEVICE", device]
        predictor = OrderPredictor.from_config(options.config_file, opts)

    def predict(file: Path) -> dict[str, object]:
        name, image = file.relative_to(options.input[0]).as_posix(), as_image(file)
        if options.masks:
            given = masks_of(Input(name, file, name), image, options)
            number = given.image_id if isinstance(given.image_id, int) else name
            return predictor(image, given).replace(image_id=number).to_dict()
        found = predictor(image)
        least = options.score_threshold
        found = found if least is None else found[found.scores > least]
        return found.replace(image_id=name).to_dict()

    return predict


def about(options: argparse.Namespace) -> str:
    """Return what predicts, what it was trained on, and what to expect, as a phrase."""
    if options.model:
        return model_zoo.introduce(options.model)
    return introduce(options.config_file, load_cfg(options.config_file, options.opts))


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Return what the results depend on beside the images: settings, and files they name."""
    if options.model:
        cfg = model_zoo.get_cfg(options.model)
    else:
        cfg = load_cfg(options.config_file, options.opts)
    cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""  # which may differ from worker to worker
    found = {key: sha256_of(value) for key, value in leaves(cfg) if is_file(value)}
    for key in found:  # the content counts, not where it lies
        cfg.merge_from_list([key, ""])
    name = options.model or Path(options.config_file).name
    known = {"model": name, "config_sha256": digest(cfg.dump()), "files_sha256": found}
    said = ("score_threshold", "keep_crowds", "skip_damaged")
    known |= {key: getattr(options, key) for key in said if getattr(options, key)}
    return known | ({"masks_sha256": masks_digest(options.masks)} if options.masks else {})


def masks_digest(path: Path) -> str:
    """Return a digest of a file of masks, or of the names and sizes of the files in a folder."""
    if path.is_file():
        return sha256_of(str(path))
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest([(file.relative_to(path).as_posix(), file.stat().st_size) for file in files])


def is_file(value: object) -> bool:
    """Whether a setting names a file."""
    return isinstance(value, str) and value != "" and os.path.isfile(value)


def run(options: argparse.Namespace) -> int:
    """Predict this worker's share, or merge; return the exit status."""
    folder = Path(options.input[0])
    names = list_images(folder)
    size = options.shard_size
    unreadable: tuple[type[Exception], ...] = (UnreadableImageError, OSError)
    if options.masks:
        unreadable = (ValueError, OSError)  # masks that are damaged belong to their image
        if options.masks.is_file():
            pages_of(options.masks)  # a file that is wrong as a whole ends the run
        if not options.config_file:
            options.model = options.model or model_zoo.ORDERS_MASKS
    plan = make_plan(folder, names, shard_size=size, settings=settings_of(options))
    start(options.output, plan)
    if options.merge:
        path, failed = merge(options.output, names, shard_size=size, plan=digest(plan))
        print(f"{path}: {len(names) - len(failed)} images")
        for entry in failed:
            print(f"not read: {entry['file_name']}: {entry['error']}", file=sys.stderr)
        return 0
    print(f"instances: {about(options)}", flush=True)
    worker, workers = worker_of_environment()
    mine = range(worker, len(shards(names, size)), workers)
    done = predict_shards(
        folder,
        names,
        options.output,
        build_predict(options),
        shard_size=size,
        worker=worker,
        workers=workers,
        unreadable=unreadable,
        plan=digest(plan),
        keep_ids=options.masks is not None,
    )
    for _ in progress(done, f"worker {worker}", total=len(mine), unit="shard"):
        pass
    return 0
