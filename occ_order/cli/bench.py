"""Measure speed and memory, or train and compare models.

    occ-order bench crf --json crf.json --markdown crf.md
    occ-order bench predict --instances 10 30 --calls 20
    occ-order bench table --table configs/tables/pairs.yaml --output output/tables/pairs
    occ-order bench memory --config-file configs/SLN/sln_R50_encoder_cocoa.yaml

Each row of a timing runs this package's code and a stated baseline alternately in one process with
one thread, and reports the median CPU time of each and the ratio baseline / ours. The times depend
on the machine, the ratios much less. The files record the machine and the package versions.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from occ_order.cli.common import Choices, at_least_one, existing, existing_path, zoo_model

TABLE = """Train several models for the same CPU time on the same scenes and print their scores.

Keys of the YAML file:

    minutes: 4            # CPU minutes of training, for rows without minutes of their own
    seeds: [1, 2, 3]      # each row is run with every seed; printed as mean ± standard deviation
    rows:
      - {name: InstaOrderNet^o, config: configs/InstaOrder/x.yaml, opts: {SOLVER.BASE_LR: 0.002}}
      - {name: area, config: configs/InstaOrder/area.yaml, train: false}
      - {name: Mask R-CNN + area, config: y.yaml, weights_from: Mask R-CNN}  # weights of that row
      - {name: both, config: z.yaml, weights_from: [one branch, the other]}  # joined, same seed
      - {name: longer, config: x.yaml, minutes: 8, seeds: [1]}
      - {name: long, config: x.yaml, iterations: 2000}  # instead of minutes
    columns: {F1: occlusion/f1, WHDR: depth/whdr_all}   # heading: task/metric of the evaluators,
                                      # data set/task/metric if DATASETS.TEST names several,
                                      # training/first_loss, last_loss or parameters (millions)

"{output}" in opts is replaced by the output folder: {output}/instaordernet_o/model_final.pth is the
checkpoint of the first row. Rows are trained with one thread. The number of iterations that fit in
the minutes is measured first, once for all seeds, and the learning rate schedule ends there.
Without minutes and iterations a row keeps the schedule of its configuration, as the tables of the
papers do; --dry-run prints the commands that train their rows, on any number of GPUs. Without seeds
a row runs once, with the seed of its configuration; the folders of further seeds end in the seed.
Finished runs in the output folder are not repeated, so an interrupted table can be continued;
--only NAME selects rows. The table also reports the actual training time."""

MEMORY = """Estimate the memory of training, and the batch size and learning rate for a GPU.

One training step of the whole network (all stages together) runs on the CPU for one generated
scene, and the peak memory of the process is read before and after. The memory of the weights, their
gradients and the optimizer state is computed; the rest grows with the batch size. Learning rates
scale linearly with the batch size, as in Detectron2. SOLVER.AMP.ENABLED True measures mixed
precision."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    # Otherwise NumPy's threads spin after each small product, which counts as CPU time.
    parser.set_defaults(work="occ_order.commands.bench", environment={"OMP_NUM_THREADS": "1"})
    kinds = parser.add_subparsers(dest="name", metavar="NAME", required=True)
    _add_timings(kinds)
    raw = argparse.RawDescriptionHelpFormatter
    table = kinds.add_parser(
        "table",
        help="train several models for the same time and print a table of scores",
        description=TABLE,
        formatter_class=raw,
    )
    table.add_argument(
        "--table", type=existing_path, required=True, metavar="YAML", help="rows and columns"
    )
    table.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of the runs"
    )
    table.add_argument("--only", nargs="+", metavar="NAME", help="rows to run; default: all")
    table.add_argument(
        "--minutes", type=float, help="override the minutes of the file, not those of single rows"
    )
    table.add_argument(
        "--dry-run", action="store_true", help="print the commands of the rows and run nothing"
    )
    table.set_defaults(work="occ_order.commands.table")
    memory = kinds.add_parser(
        "memory",
        help="estimate the memory of training",
        description=MEMORY,
        formatter_class=raw,
    )
    memory.add_argument("--config-file", type=existing_path, required=True, metavar="YAML")
    memory.add_argument("--size", type=int, nargs=2, default=(800, 1088), metavar=("H", "W"))
    memory.add_argument("--instances", type=int, default=10)
    memory.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings")
    memory.set_defaults(work="occ_order.benchmarks.memory")


def _add_timings(kinds) -> None:
    """Add the timing benchmarks, named as the modules of `occ_order.benchmarks`."""

    def timing(name: str, what: str) -> argparse.ArgumentParser:
        parser = kinds.add_parser(name, help=what, description=what)
        parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows as JSON")
        parser.add_argument("--markdown", type=Path, metavar="OUT", help="write them as a table")
        parser.add_argument(
            "--repeats", type=at_least_one, default=3, help="interleaved runs of each"
        )
        return parser

    crf = timing("crf", "the CRF's compiled solver against PyMaxflow")
    crf.add_argument("--seeds", type=at_least_one, default=3, help="number of scenes per case")
    crf.add_argument(
        "--cases",
        nargs="+",
        choices=Choices("occ_order.benchmarks.crf", "CRF_CLASSES"),
        metavar="CASE",
        help="of %(choices)s (default: all)",
    )
    crf.add_argument("--bounds", nargs="+", default=["alternate", "constant"])
    crf.add_argument("--plain", action="store_true", help="baseline: PyMaxflow as in its examples")
    crf.add_argument("--naive", action="store_true", help="baseline: graph built pixel by pixel")
    crf.add_argument("--threads", action="store_true", help="two threads against one")
    timing("metrics", "the metrics of 5,000 images against loops over pairs")
    oosis = timing("oosis", "OOSIS with network and CRF overlapped, against one after the other")
    oosis.add_argument(
        "--model", type=zoo_model, default="oosis_mini_scenes", help="name in the model zoo"
    )
    oosis.add_argument("--config-file", type=existing, help="configuration, with random weights")
    oosis.add_argument("--images", type=at_least_one, default=24, help="images per size (24)")
    oosis.add_argument("--workers", type=at_least_one, default=1, help="threads for the CRF (1)")
    pairs = timing("pairs", "pairwise networks: pairs batched by instance against pair by pair")
    pairs.add_argument("--instances", type=at_least_one, nargs="+", default=[10, 30, 100])
    pairs.add_argument("--size", type=at_least_one, default=160, help="side of the image")
    pairs.add_argument(
        "--calls", type=at_least_one, default=180, help="maximum calls timed pair by pair"
    )
    pairs.add_argument("--network", type=existing, help="configuration of the network")
    pairs.add_argument("--network-weights", default="", help="its checkpoint; else random")
    pairs.add_argument("--head", type=existing, help="configuration of the order head")
    pairs.add_argument("--head-weights", default="", help="its checkpoint; else random")
    predict = timing("predict", "order of input masks: the default against the published method")
    predict.add_argument("--instances", type=at_least_one, nargs="+", default=[5, 10, 30, 100])
    predict.add_argument(
        "--calls", type=at_least_one, default=40, help="maximum calls timed of the published method"
    )
    stages = timing("stages", "CPU time of each stage of predict for a photograph without masks")
    stages.add_argument("--photo", type=existing_path, required=True, metavar="FILE")
    stages.add_argument("--score-threshold", type=float, help="of the segmenter; default: its own")
    int8 = timing("int8", "the default order network in 8 bits against 32: speed, size, accuracy")
    int8.add_argument("--calibrate", default="composed_train_photos", help="registered data set")
    int8.add_argument("--calibration-images", type=at_least_one, default=24)
    int8.add_argument("--dataset", default="composed_val_photos", help="registered data set")
    int8.add_argument("--images", type=at_least_one, default=100)
    growth = timing("growth", "time and memory by number of instances, pixels and graph nodes")
    growth.add_argument(
        "--instances", type=at_least_one, nargs="*", default=[1, 10, 50, 100, 200, 500]
    )
    growth.add_argument("--megapixels", type=float, nargs="*", default=[0.3, 1, 3, 12, 50])
    growth.add_argument("--nodes", type=at_least_one, nargs="*", default=[500, 5000])
    growth.add_argument("--images", type=at_least_one, nargs="*", default=[2_000, 20_000])
    growth.add_argument("--pairs", type=at_least_one, nargs="*", default=[100_000, 1_000_000])
    growth.add_argument("--listed", type=at_least_one, nargs="*", default=[10_000, 118_287])
    load = timing("load", "reading annotations and results, against straightforward readers")
    load.add_argument("--images", type=at_least_one, default=10_000, help="images per large file")
    load.add_argument("--instances", type=at_least_one, nargs="+", default=[100, 300])
    load.add_argument(
        "--side", type=at_least_one, default=4_000, help="side of the large images in pixels"
    )
