#!/usr/bin/env python
"""Predict over a large collection of pictures, on as many workers and machines as there are.

    python tools/predict_many.py --model NAME --input PICTURES --output RESULTS
    python tools/predict_many.py --model NAME --input PICTURES --output RESULTS --merge
    torchrun --nproc-per-node 8 tools/predict_many.py ...
    srun --ntasks 64 python tools/predict_many.py ...

Workers are counted by torchrun or SLURM (RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS);
OUTPUT must be a folder that all of them see. Its plan.json holds digests of the settings, of the
files that they name (weights) and of the names and sizes of the pictures; a worker that would
predict something else is refused. Each writes whole shards of results and never waits
for another, so a killed worker loses one shard at most: run the same command again, with any number
of workers, to finish. --merge then writes OUTPUT/order_results.json and lists what could not be
read. With --device cuda each worker takes the GPU of its LOCAL_RANK.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tqdm import tqdm  # noqa: E402

from occ_order import model_zoo  # noqa: E402
from occ_order.config import load_cfg  # noqa: E402
from occ_order.config.files import leaves  # noqa: E402
from occ_order.engine.collection import (  # noqa: E402
    Predict,
    digest,
    make_plan,
    merge,
    predict_shards,
    shards,
    start,
    worker_of_environment,
)
from occ_order.engine.predictor import OrderPredictor  # noqa: E402
from occ_order.files import list_images  # noqa: E402
from occ_order.methods.common.reading import UnreadablePictureError  # noqa: E402
from occ_order.methods.common.results import image_result  # noqa: E402


def device_of(wish: str) -> str:
    """`cuda` becomes this worker's own GPU."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if wish == "cuda" else wish


def build_predict(options: argparse.Namespace) -> Predict:
    """From a file to the dict of one image."""
    device = device_of(options.device)
    if options.model:
        predictor = OrderPredictor.from_zoo(options.model, device=device)
    else:
        opts = [*options.opts, "MODEL.DEVICE", device]
        predictor = OrderPredictor.from_config(options.config_file, opts)
    return lambda file: image_result(predictor(file)["instances"].to("cpu"), image_id=file.name)


def settings_of(options: argparse.Namespace) -> dict[str, object]:
    """What the results depend on beside the pictures: the configuration and every file it names."""
    if options.model:
        cfg = model_zoo.get_cfg(options.model)
    else:
        cfg = load_cfg(options.config_file, options.opts)
    cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""  # which may differ from worker to worker
    found = {key: file_digest(value) for key, value in leaves(cfg) if is_file(value)}
    for key in found:  # the content counts, not where it lies
        cfg.merge_from_list([key, ""])
    name = options.model or Path(options.config_file).name
    return {"model": name, "config_sha256": digest(cfg.dump()), "files_sha256": found}


def is_file(value: object) -> bool:
    """Whether a setting names a file."""
    return isinstance(value, str) and value != "" and os.path.isfile(value)


def file_digest(path: str) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="name in the model zoo")
    which.add_argument("--config-file", help="YAML file, with MODEL.WEIGHTS in --opts")
    parser.add_argument("--opts", nargs="+", default=[], help="KEY VALUE ... for --config-file")
    parser.add_argument("--input", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--shard-size", type=int, default=64, help="pictures in one file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--merge", action="store_true", help="join the shards; predict nothing")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (ValueError, OSError) as error:
        print(f"predict_many: {error}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    """Predicts this worker's share, or merges."""
    names = list_images(options.input)
    size = options.shard_size
    plan = make_plan(options.input, names, shard_size=size, settings=settings_of(options))
    start(options.output, plan)
    if options.merge:
        path, failed = merge(options.output, names, shard_size=size, plan=digest(plan))
        print(f"{path}: {len(names) - len(failed)} pictures")
        for entry in failed:
            print(f"not read: {entry['file_name']}: {entry['error']}", file=sys.stderr)
        return 0
    worker, workers = worker_of_environment()
    mine = range(worker, len(shards(names, size)), workers)
    done = predict_shards(
        options.input,
        names,
        options.output,
        build_predict(options),
        shard_size=size,
        worker=worker,
        workers=workers,
        unreadable=(UnreadablePictureError, OSError),
        plan=digest(plan),
    )
    for _ in tqdm(done, total=len(mine), unit="shard", desc=f"worker {worker}", disable=None):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
