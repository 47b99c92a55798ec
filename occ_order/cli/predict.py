"""Order the instances of your own images and videos; with your own masks, or with found ones.

    occ-order predict photo.jpg --output out                              # finds instances
    occ-order predict photo.jpg --masks masks.json --output out           # COCO json
    occ-order predict "photos/*.jpg" --masks labels/ --output out         # masks of each
    occ-order predict photo.jpg --detector torchvision --output out       # finds, then orders
    occ-order predict clip.mp4 --every 10 --output out
    occ-order predict photo.jpg --config-file C --opts MODEL.WEIGHTS w.pth --output out

OUTPUT gets `order_results.json` and, for each image, a folder with

    overlay.png occlusion.png occlusion_graph.png depth_graph.png relative_depth.png layers.png
    amodal.png levels.png sem_dist.npz disparity.png disparity_color.png    (as far as known)
    layers/layer_000.png ... layers.json    RGBA layers, front to back; --psd: one file as well
    occlusion.graphml occlusion.dot ...      with --graphs

Results grow image by image: a run that is ended has kept what it had.

--masks takes a file of masks of any tool: COCO (instances, panoptic, results), COCOA, KINS,
labelme, Label Studio, CVAT, VIA, YOLO, SA-1B, order_results.json, .npy, .npz; a label map (PNG, 0
= background), a folder of mask PNGs, or a folder that holds such a thing for each of several
images, named like the image. In a file about several images those of each are found by its name.

Without --masks a detector finds the instances, and its names of classes and scores are kept.
--detector takes

    torchvision             its maskrcnn_resnet50_fpn_v2; torchvision:NAME, another Mask R-CNN of it
    detectron2:CONFIG       of Detectron2's model zoo, such as
                            detectron2:COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml
    FILE.yaml               a configuration of Detectron2, or of a project that extends it; it is
                            never run as code
    FILE.py                 a LazyConfig of Detectron2: Python code, which IS RUN; name no file that
                            you do not trust
    RESULTS                 what a detector has written: COCO results, a panoptic JSON beside its
                            folder of PNG files, masks of SAM, and all that --masks takes
    NAME, zoo:NAME          a model of the zoo that finds instances

The first two download their weights once; without a network the command says which file is missing,
from where it comes and where to put it, or --detector-weights names it. Order and depth are told by
--model, amodal masks where no model is named (--amodal, --no-amodal). The
first line says which models these are, what they were trained on, and what to expect. Where the
occlusion leads round in a cycle the results say so; --acyclic leaves the least probable occlusions
out of it.

INPUT may also be a list of inputs (.txt), an address that fsspec opens (s3://, https:// ...),
tar files (WebDataset) and Parquet files, whose column of images --column names.

A large collection, on as many workers and machines as there are:

    occ-order predict FOLDER --output out --engine ray                  # this machine
    occ-order predict s3://BUCKET/FOLDER --output out --engine ray --address auto --device cuda
    occ-order predict FOLDER --output out --shard 3/64                  # one of 64 processes

With these only `order_results.json` is written, the same as by one process. OUTPUT/parts holds what
is said of every --part-size images; the same command, given again, makes the parts that are missing
and no other. Of N shards, the one that ends last writes `order_results.json`. plan.json holds
digests of the options, of the models and of the names and sizes of the images; a run that would
predict something else is refused.
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
    """Return a file, a folder, or a pattern that matches something; an address as it is.

    Raises:
        argparse.ArgumentTypeError: there is no such thing.
    """
    if "://" not in text and not os.path.exists(text) and not glob.glob(text, recursive=True):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder, and nothing matches it")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "input",
        nargs="+",
        type=matching,
        help="images, folders, globs in quotes, videos; see above",
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder of the results"
    )
    parser.add_argument(
        "--masks", type=existing_path, metavar="PATH", help="masks to order; see above"
    )
    add_tolerance_options(parser)
    add_model_options(parser, required=False)
    parser.add_argument(
        "--detector",
        type=detector,
        metavar="WHAT",
        help="finds the instances: torchvision, detectron2:CONFIG, a file, a name; see above",
    )
    parser.add_argument(
        "--detector-weights",
        type=existing,
        metavar="FILE",
        help="weights of a detector of torchvision or Detectron2, instead of its own",
    )
    add_backend_options(parser)
    parser.add_argument(
        "--every", type=at_least_one, default=1, metavar="N", help="of a video, each N-th frame"
    )
    parser.add_argument(
        "--score-threshold",
        type=float,
        metavar="S",
        help="leave out found instances with a lower score; default: the detector's own, 0.5 for "
        "torchvision and Detectron2",
    )
    parser.add_argument(
        "--names-from",
        type=existing,
        metavar="FILE",
        help="COCO-style file with the names of the classes, where masks or detections have ids "
        "alone, as COCO results do",
    )
    parser.add_argument(
        "--amodal",
        action=argparse.BooleanOptionalAction,
        help="complete the instances behind what occludes them; default: where no model is named",
    )
    parser.add_argument(
        "--acyclic",
        action="store_true",
        help="leave the least probable occlusions out of cycles",
    )
    parser.add_argument("--psd", action="store_true", help="layers as one PSD file as well")
    parser.add_argument("--graphs", action="store_true", help="orders as GraphML and DOT as well")
    parser.add_argument(
        "--json-only", action="store_true", help="write order_results.json and no images"
    )
    parser.add_argument(
        "--column", default="", metavar="NAME", help="of Parquet files, that of the images"
    )
    many = parser.add_argument_group("large collections")
    add_engine_options(many)
    many.add_argument(
        "--shard", type=shard, metavar="I/N", help="predict part I, I + N ... alone; I from 0"
    )
    many.add_argument(
        "--part-size",
        type=at_least_one,
        default=64,
        metavar="N",
        help="images of a part of the results; default: %(default)s",
    )
    add_check(parser, check)
    parser.set_defaults(work="occ_order.commands.predict")


def check(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the arguments together."""
    if options.detector and options.masks:
        return "--detector finds instances and --masks names them: give one of them"
    if options.detector_weights and not options.detector:
        return "--detector-weights are of the detector that --detector names"
    if options.score_threshold is not None and options.masks:
        return "--score-threshold is of instances that are found: --masks are all taken"
    if options.engine and options.shard:
        return "--engine shares the images out itself: leave --shard away"
    if (options.engine or options.shard) and (options.psd or options.graphs):
        return "--psd and --graphs belong to one process: leave --engine and --shard away"
    return check_engine(options)
