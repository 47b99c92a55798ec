"""Measure speed and memory, or train models side by side.

    occ-order bench crf --json crf.json --markdown crf.md
    occ-order bench predict --instances 10 30 --calls 20
    occ-order bench table --table configs/tables/pairs.yaml --output output/tables/pairs
    occ-order bench memory --config-file configs/SLN/sln_R50_encoder_cocoa.yaml

A row of a timing is our code and a stated baseline in turns in one process on one thread, the
median of the CPU times of either, and baseline / ours. The figures depend on the machine; the
ratios much less. The files name the machine and the versions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.cli.common import Choices, at_least_one, existing, existing_path, zoo_model

TABLE = """Train several models for the same CPU time on the same scenes and print one table.

The YAML file holds

    minutes: 4            # CPU minutes of training for each row that does not say its own
    seeds: [1, 2, 3]      # every row is run with each; printed are mean ± standard deviation
    rows:
      - {name: InstaOrderNet^o, config: configs/InstaOrder/x.yaml, opts: {SOLVER.BASE_LR: 0.002}}
      - {name: area, config: configs/InstaOrder/area.yaml, train: false}
      - {name: Mask R-CNN + area, config: y.yaml, weights_from: Mask R-CNN}  # trained in that row
      - {name: both, config: z.yaml, weights_from: [one branch, the other]}  # of the same seed
      - {name: longer, config: x.yaml, minutes: 8, seeds: [1]}
      - {name: long, config: x.yaml, iterations: 2000}  # instead of measuring how many fit
    columns: {F1: occlusion/f1, WHDR: depth/whdr_all}   # heading: task/metric of the evaluators,
                                      # data set/task/metric where DATASETS.TEST names several

"{output}" in opts is the output folder: {output}/instaordernet_o/model_final.pth is what the first
row has trained. A row is trained with one thread; how many iterations fit into the time is measured
first, once for all seeds, and the learning rate is scheduled to end there. Without minutes and
iterations a row has the schedule of its configuration: so do the tables of the papers, whose rows
--dry-run prints as the commands that train them on any number of GPUs. Without seeds a row runs
once, with its configuration's; the folder of another seed than the first one ends in it. What is in
the output folder already is not run again, so that an interrupted table goes on; --only NAME runs
some of the rows. The time that training really took is printed beside the scores."""

MEMORY = """How much memory a training takes, and which batch and learning rate fit a GPU.

One training step of the whole network (all stages together) runs on the CPU for one generated
scene, and the largest memory of the process is read before and after. What belongs to the weights
(the weights, their gradients and the optimizer's state) is computed; the rest grows with the batch.
Learning rates follow Detectron2's rule, in proportion to the batch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.set_defaults(work="occ_order.commands.bench")
    kinds = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    _add_timings(kinds)
    raw = argparse.RawDescriptionHelpFormatter
    table = kinds.add_parser(
        "table",
        help="several models trained for the same time, in one table",
        description=TABLE,
        formatter_class=raw,
    )
    table.add_argument(
        "--table", type=existing_path, required=True, metavar="YAML", help="its description"
    )
    table.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the runs"
    )
    table.add_argument("--only", nargs="+", metavar="NAME", help="rows to run; default: all")
    table.add_argument(
        "--minutes", type=float, help="instead of the file's, for rows without their own"
    )
    table.add_argument(
        "--dry-run", action="store_true", help="print the commands of the rows and run nothing"
    )
    table.set_defaults(work="occ_order.commands.table")
    memory = kinds.add_parser(
        "memory",
        help="how much memory a training takes",
        description=MEMORY,
        formatter_class=raw,
    )
    memory.add_argument("--config-file", type=existing_path, required=True, metavar="YAML")
    memory.add_argument("--size", type=int, nargs=2, default=(800, 1088), metavar=("H", "W"))
    memory.add_argument("--instances", type=int, default=10)
    memory.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings")
    memory.set_defaults(work="occ_order.benchmarks.memory")


def _add_timings(kinds) -> None:
    """Add the benchmarks that print rows: modules of `occ_order.benchmarks`, by their names."""

    def timing(name: str, what: str) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=what, description=what)
        parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows there")
        parser.add_argument("--markdown", type=Path, metavar="OUT", help="the same as a table")
        parser.add_argument(
            "--repeats", type=at_least_one, default=3, help="interleaved runs of each"
        )
        return parser

    crf = timing("crf", "the CRF's compiled solver beside PyMaxflow")
    crf.add_argument("--seeds", type=at_least_one, default=3, help="scenes of each class")
    crf.add_argument(
        "--cases",
        nargs="+",
        choices=Choices("occ_order.benchmarks.crf", "CRF_CLASSES"),
        metavar="CASE",
        help="of %(choices)s (default: all)",
    )
    crf.add_argument("--bounds", nargs="+", default=["alternate", "constant"])
    crf.add_argument("--plain", action="store_true", help="beside PyMaxflow as its examples use it")
    crf.add_argument("--naive", action="store_true", help="beside a per-pixel Python build")
    crf.add_argument("--threads", action="store_true", help="two threads beside one")
    timing("metrics", "the metrics of 5,000 images beside loops over pairs")
    oosis = timing("oosis", "OOSIS with its CRF during the next network pass beside one by one")
    oosis.add_argument(
        "--model", type=zoo_model, default="oosis_mini_scenes", help="name in the model zoo"
    )
    oosis.add_argument("--config-file", type=existing, help="instead: settings, random weights")
    oosis.add_argument("--images", type=at_least_one, default=24, help="of each size (24)")
    oosis.add_argument("--workers", type=at_least_one, default=1, help="threads for the CRF (1)")
    pairs = timing("pairs", "pairwise networks: pairs batched by instance beside pair by pair")
    pairs.add_argument("--instances", type=at_least_one, nargs="+", default=[10, 30, 100])
    pairs.add_argument("--size", type=at_least_one, default=160, help="side of the image")
    pairs.add_argument(
        "--calls", type=at_least_one, default=180, help="most calls timed pair by pair"
    )
    pairs.add_argument("--network", type=existing, help="configuration of the network")
    pairs.add_argument("--network-weights", default="", help="its checkpoint; else random")
    pairs.add_argument("--head", type=existing, help="configuration of the order head")
    pairs.add_argument("--head-weights", default="", help="its checkpoint; else random")
    predict = timing("predict", "given masks to their order: our default beside the published way")
    predict.add_argument("--instances", type=at_least_one, nargs="+", default=[5, 10, 30, 100])
    predict.add_argument(
        "--calls", type=at_least_one, default=40, help="most calls timed of the published way"
    )
    growth = timing("growth", "time and memory by numbers of instances, pixels and nodes")
    growth.add_argument(
        "--instances", type=at_least_one, nargs="*", default=[1, 10, 50, 100, 200, 500]
    )
    growth.add_argument("--megapixels", type=float, nargs="*", default=[0.3, 1, 3, 12, 50])
    growth.add_argument("--nodes", type=at_least_one, nargs="*", default=[500, 5000])
    load = timing("load", "reading annotations and results beside straightforward readers")
    load.add_argument("--images", type=at_least_one, default=10_000, help="of the large files")
    load.add_argument("--instances", type=at_least_one, nargs="+", default=[100, 300])
    load.add_argument(
        "--side", type=at_least_one, default=4_000, help="of the large images, pixels"
    )
