"""The main job, from masks and order to a report; see ``--help``.

A photograph that lies here, in `coffee`, gets its order from its masks by a model of the zoo, and
so do annotated ones of your own. Then a small network looks at generated images, and the second
stage of "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu, Veksler, Boykov) reads
instances and their order off maps made from annotation, exact and damaged. The work is done by
`occ_order.apps.main_job.job.run`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from occ_order.apps.main_job.job import SMOOTHNESS, Options, run

COFFEE = Path(__file__).resolve().parent / "coffee"
CREDIT = "The photograph coffee.jpg is by Rachel Michetti (CC0)."
DEMO_VARIABLE = "OCC_ORDER_COCOA_DEMO"
DEMO_FILE = "COCO_amodal_demo5.json"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; see ``--help``."""
    parser = argparse.ArgumentParser(
        description="From annotated images to occlusion-ordered instances, scores and a report.",
        epilog=(
            f"More photographs: where the environment variable {DEMO_VARIABLE} names a folder with "
            f"{DEMO_FILE} and its images, they are used; or give any COCOA file with --cocoa "
            "and --images."
        ),
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write; made if new")
    parser.add_argument("--cocoa", type=Path, help="annotation file in COCOA format")
    parser.add_argument("--images", type=Path, help="folder that its file names start from")
    parser.add_argument(
        "--no-photograph", action="store_true", help="leave out the photograph that lies here"
    )
    parser.add_argument("--scenes", type=int, default=3, help="generated scenes (default 3)")
    parser.add_argument(
        "--network-scenes", type=int, default=2,
        help="generated images that the network looks at (default 2; 0 = without a network)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of scenes and damage (default 0)")
    parser.add_argument(
        "--smoothness", type=float, default=SMOOTHNESS,
        help="weight of the CRF's smoothness term per neighbour pair (default 40 = the paper's 20 "
        "counted in both directions)",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=Options.jobs, help="processes (default 2)")
    parser.add_argument(
        "--no-banner", action="store_true", help="leave out banner.png, one scene in five panels"
    )
    options = parser.parse_args(arguments)
    if (options.cocoa is None) != (options.images is None):
        parser.error("--cocoa and --images go together")
    if options.scenes < 0 or options.network_scenes < 0 or options.jobs < 1:
        parser.error("--scenes and --network-scenes must be 0 or more, --jobs 1 or more")
    return options


def cocoa_source(options: argparse.Namespace) -> tuple[Path | None, Path | None]:
    """Annotation file and image folder of further photographs, None each where there are none."""
    if options.cocoa is not None:
        return options.cocoa, options.images
    folder = os.environ.get(DEMO_VARIABLE)
    if not folder:
        say(
            f"no further photographs: {DEMO_VARIABLE} is not set; give your own with "
            "--cocoa annotations.json --images FOLDER"
        )
        return None, None
    return Path(folder) / DEMO_FILE, Path(folder).resolve().parent


def say(text: str) -> None:
    """Progress for the person at the terminal, at once."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; exit status 0, or 2 with a message where the input is bad."""
    asked = parse_arguments(arguments)
    cocoa, images = cocoa_source(asked)
    options = Options(
        photographs=None if asked.no_photograph else COFFEE,
        credit="" if asked.no_photograph else CREDIT,
        cocoa=cocoa,
        images=images,
        scenes=asked.scenes,
        network_scenes=asked.network_scenes,
        seed=asked.seed,
        smoothness=asked.smoothness,
        jobs=asked.jobs,
        banner=not asked.no_banner,
    )
    try:
        run(asked.output, options, say=say)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
