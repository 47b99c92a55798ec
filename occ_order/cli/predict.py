"""Predict instances and their occlusion and depth order in images and videos.

    occ-order predict photo.jpg --output out                              # detects instances
    occ-order predict photo.jpg --masks masks.json --output out           # COCO json
    occ-order predict "photos/*.jpg" --masks labels/ --output out         # masks for each
    occ-order predict photo.jpg --detector torchvision --output out       # other detector
    occ-order predict clip.mp4 --every 10 --output out
    occ-order predict photo.jpg --config-file C --opts MODEL.WEIGHTS w.pth --output out

OUTPUT contains `order_results.json` and, for each image, a folder with

    overlay.png occlusion.png occlusion_graph.png depth_graph.png relative_depth.png layers.png
    amodal.png levels.png sem_dist.npz disparity.png disparity_color.png    (if predicted)
    layers/layer_000.png ... layers.json    RGBA layers, front to back; with --psd also as PSD
    occlusion.graphml occlusion.dot ...      with --graphs

Results are written image by image; a killed run leaves those of completed images in
order_results.*.jsonl, which can be used like the JSON file.

--masks accepts the masks of many tools: COCO (instances, panoptic, results), COCOA, KINS,
labelme, Label Studio, CVAT, VIA, YOLO, SA-1B, order_results.json, .npy, .npz; a label map (PNG, 0
= background), a folder of mask PNGs, or a folder with one of these for each of several images,
named like the image. In a file for several images, masks are looked up by file name.

Without --masks a detector predicts the instances, with its class names and scores.
--detector accepts

    torchvision             its maskrcnn_resnet50_fpn_v2; torchvision:NAME for another Mask R-CNN
    detectron2:CONFIG       a model of Detectron2's model zoo, such as
                            detectron2:COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
    FILE.yaml               a config of Detectron2, or of a project that extends it; never executed
                            as code
    FILE.py                 a LazyConfig of Detectron2: Python code, which IS EXECUTED; use only
                            trusted files
    RESULTS                 predictions of a detector: COCO results, a panoptic JSON next to its
                            folder of PNG files, masks of SAM, and all formats of --masks
    NAME, zoo:NAME          a model of the zoo that detects instances

The first two download their weights once; without a network, the error names the missing file,
its URL and its location, or use --detector-weights. --model predicts occlusion and depth order;
amodal masks are added if no model is given (--amodal, --no-amodal). The first line of the output
describes the models, their training data and expected accuracy. Cycles of the occlusion order are
reported in the results; --acyclic removes the least probable occlusions from cycles.

INPUT may also be a list of inputs (.txt), a URL supported by fsspec (s3://, https:// ...),
tar files (WebDataset) and Parquet files, with image column --column.

For large collections, on any number of workers and machines:

    occ-order predict FOLDER --output out --engine ray                  # this machine
    occ-order predict s3://BUCKET/FOLDER --output out --engine ray --address auto --device cuda
    occ-order predict FOLDER --output out --shard 3/64                  # one of 64 processes

These options write only `order_results.json`, identical to that of a single process. OUTPUT/parts
contains the results of every --part-size images; repeating the command computes only missing
parts. The last of N shards to finish writes `order_results.json`. plan.json contains digests of
the options, the models, and the names and sizes of the images; a run with a different plan is
rejected.
"""

from __future__ import annotations

import argparse
import glob
import os
from pathlib import Path

from occ_order.cli.common import (
    add_backend_options,
    add_check,
    add_engine_options,
    add_model_options,
    add_tolerance_options,
    at_least_one,
    check_engine,
    detector,
    existing,
    existing_path,
    shard,
)


def matching(text: str) -> str:
    """Return a file, a folder, a pattern with matches, or a URL, unchanged.

    Raises:
        argparse.ArgumentTypeError: no such file or folder, and nothing matches it.
    """
    if "://" not in text and not os.path.exists(text) and not glob.glob(text, recursive=True):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder, and nothing matches it")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument(
        "input",
        nargs="+",
        type=matching,
        help="images, folders, quoted globs, videos; see above",
    )
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="output folder")
    parser.add_argument(
        "--masks", type=existing_path, metavar="PATH", help="input masks; see above"
    )
    add_tolerance_options(parser)
    add_model_options(parser, required=False)
    parser.add_argument(
        "--detector",
        type=detector,
        metavar="WHAT",
        help="instance detector: torchvision, detectron2:CONFIG, a file, a name; see above",
    )
    parser.add_argument(
        "--detector-weights",
        type=existing,
        metavar="FILE",
        help="weights of a torchvision or Detectron2 detector, instead of its default ones",
    )
    add_backend_options(parser)
    parser.add_argument(
        "--every", type=at_least_one, default=1, metavar="N", help="use every N-th frame of videos"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="drop detections with a lower score; default: that of the detector, 0.5 for "
        "torchvision and Detectron2",
    )
    parser.add_argument(
        "--names-from",
        type=existing,
        metavar="FILE",
        help="COCO-style file with class names, for masks or detections with class ids "
        "only, such as COCO results",
    )
    parser.add_argument(
        "--amodal",
        action=argparse.BooleanOptionalAction,
        help="predict amodal masks; default: if --model is not given",
    )
    parser.add_argument(
        "--beyond-frame",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="complete instances that the frame cuts off, too: up to this share of the image's "
        "sides; the results then have the size of the larger canvas (default: %(default)s)",
    )
    parser.add_argument(
        "--acyclic",
        action="store_true",
        help="remove the least probable occlusions from cycles",
    )
    parser.add_argument("--psd", action="store_true", help="also write layers as a PSD file")
    parser.add_argument("--graphs", action="store_true", help="also write GraphML and DOT files")
    parser.add_argument(
        "--json-only", action="store_true", help="write only order_results.json, no images"
    )
    parser.add_argument(
        "--column", default="", metavar="NAME", help="image column of Parquet files"
    )
    many = parser.add_argument_group("large collections")
    add_engine_options(many)
    many.add_argument(
        "--shard", type=shard, metavar="I/N", help="predict only parts I, I + N, ...; 0 <= I < N"
    )
    many.add_argument(
        "--part-size",
        type=at_least_one,
        default=64,
        metavar="N",
        help="images per part of the results; default: %(default)s",
    )
    add_check(parser, check)
    parser.set_defaults(work="occ_order.commands.predict")


def check(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of arguments, or None."""
    if options.detector and options.masks:
        return "use either --detector or --masks, not both"
    if options.detector_weights and not options.detector:
        return "--detector-weights requires --detector"
    if options.score_threshold is not None and options.masks:
        return "--score-threshold applies to detections only, not to --masks"
    if options.engine and options.shard:
        return "--engine distributes the images itself: omit --shard"
    if (options.engine or options.shard) and (options.psd or options.graphs):
        return "--psd and --graphs require a single process: omit --engine and --shard"
    return check_engine(options)
