"""Entry point of the main demo, and the report that it writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import __version__, scenes
from occ_order.apps.main_job.drawings import boundary_image, compared, draw_banner
from occ_order.apps.main_job.examples import (
    Example,
    cocoa_examples,
    example_from_scene,
    labelme_examples,
    scene_examples,
)
from occ_order.apps.main_job.network import network_part
from occ_order.apps.main_job.photographs import MODEL, OrderedPhotograph, order_photographs
from occ_order.apps.main_job.scores import table_rows
from occ_order.apps.main_job.second_stage import (
    BOUNDS,
    CONDITIONS,
    MIN_AREA,
    Finished,
    finish,
    input_maps,
    run_crf,
)
from occ_order.apps.main_job.sentences import verdict_counts
from occ_order.apps.report import ReportImage, encode_image, render_report
from occ_order.draw import draw_accuracy_recall, png_bytes
from occ_order.files import atomic_writer, write_bytes, write_json
from occ_order.metrics.report import without_nan
from occ_order.order.io import save_results

BANNER_SCENE: dict[str, Any] = {
    "seed": 399,
    "size": (256, 256),
    "num_instances": (6, 8),
    "interlocked": 0.0,
    "background": "room",
}

SMOOTHNESS = 40.0
"""Smoothness weight per unordered pair of neighbours: the paper's 20 for each direction."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Settings of the main demo.

    Attributes:
        photographs: folder of labelme files with an `order.csv`, whose masks a model orders; None.
        credit: credit line of these photographs for the footer.
        cocoa: annotation file in COCOA format, for the model of input masks and the second stage;
            None.
        images: image folder of the COCOA file.
        scenes: number of generated scenes for the second stage.
        network_scenes: number of generated images for the network.
        seed: random seed of scenes and damage.
        smoothness: smoothness weight of the CRF.
        jobs: number of processes.
        banner: also write banner.png, one scene in five panels.
    """

    photographs: Path | None = None
    credit: str = ""
    cocoa: Path | None = None
    images: Path | None = None
    scenes: int = 3
    network_scenes: int = 2
    seed: int = 0
    smoothness: float = SMOOTHNESS
    jobs: int = min(2, os.cpu_count() or 1)
    banner: bool = True


def run(output: str | os.PathLike[str], options: Options, *, say: Say = print) -> Path:
    """Run the main demo.

    Args:
        output: folder, created if missing. Receives index.html with embedded images, the same
            images as files in `images`, metrics.json, and an order_results.json per data set.
        options: settings.
        say: called with each line of progress.

    Returns:
        Path of index.html.

    Raises:
        ValueError: invalid annotation or image; names the file.
        OSError: a file cannot be read or written.
    """
    output, start = Path(output), time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    shown = [] if options.photographs is None else labelme_examples(options.photographs, "shown")
    annotated = [] if options.cocoa is None else cocoa_examples(options.cocoa, options.images or "")
    generated = scene_examples(options.scenes, options.seed)
    say(f"[{time.perf_counter() - start:5.1f} s] images and annotation read")
    ordered = _ordered(output, [*shown, *annotated], say)
    sets = [
        data_set(output, key, title, examples, options, say)
        for key, title, examples in (
            ("photographs", "Photographs", annotated),
            ("scenes", "Generated scenes", generated),
        )
        if examples
    ]
    network = network_part(options.network_scenes, options.seed, options.smoothness, say)
    write_page(output, ordered, sets, network, options)
    if options.banner:
        write_banner(output / "banner.png", options.smoothness)
    say(f"[{time.perf_counter() - start:5.1f} s] done: {output / 'index.html'}")
    return output / "index.html"


def _ordered(output: Path, examples: Sequence[Example], say: Say) -> list[OrderedPhotograph]:
    """Predict the order of the input masks of photographs; empty if the model cannot run."""
    if not examples:
        return []
    say(f"{MODEL} orders the masks of {len(examples)} photographs")
    try:
        ordered = order_photographs(examples)
    except (ImportError, FileNotFoundError) as error:
        say(f"no model: {error}")
        return []
    for one in ordered:
        judged = sum(one.verdicts.values())
        say(f"    {one.example.title}: {one.verdicts['correct']} of {judged} orders right")
    results = [
        one.result.replace(image_id=one.example.key, file_name=None).to_dict() for one in ordered
    ]
    (output / "order").mkdir(exist_ok=True)
    save_results(output / "order" / "order_results.json", results)
    return ordered


def data_set(
    output: Path, key: str, title: str, examples: Sequence[Example], options: Options, say: Say
) -> dict[str, Any]:
    """Run the second stage on one data set, compute its scores and write its results file."""
    say(f"{title}: {len(examples)} images")
    finished = run_all(examples, options, say)
    start = time.perf_counter()
    rows = table_rows(finished)
    (output / key).mkdir(exist_ok=True)
    save_results(output / key / "order_results.json", [_result_of(f) for f in finished])
    say(f"  [{time.perf_counter() - start:5.1f} s] scores")
    for row in rows:
        say(
            f"    {row['input']:>30} | {row['method']:<34} | found "
            f"{row['things_found']:>3} of {row['things']} | orders right {row['orders_right']:>3} "
            f"of {row['orders_recovered']} recovered, {row['orders']} annotated"
        )
    shown = finished[showcase(finished)]
    return {
        "key": key,
        "title": title,
        "finished": finished,
        "rows": rows,
        "level_orders": [sum(f.level_orders[k] for f in finished) for k in range(2)],
        "curves": curve_image(rows, key, title),
        "showcase": shown,
        "damaged_counts": {
            bound: verdict_counts(shown.example, shown.outcomes["gaps", bound].found)
            for bound in BOUNDS
        },
        "damaged": damage_images(shown),
    }


def run_all(examples: Sequence[Example], options: Options, say: Say) -> list[Finished]:
    """Run `finish` for every example in parallel processes, with a line of progress for each."""
    tasks = [(example, options.seed, options.smoothness) for example in examples]
    done = []
    jobs = min(options.jobs, len(tasks))
    # Not "fork": a forked process inherits the locks of OpenCV's threads but not the threads, and
    # would wait for them forever.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) if jobs > 1 else None
    start = time.perf_counter()
    try:
        for f in pool.map(finish, tasks) if pool else map(finish, tasks):
            done.append(f)
            spent = sum(outcome.seconds for outcome in f.outcomes.values())
            say(
                f"  [{time.perf_counter() - start:5.1f} s] {f.example.title}: "
                f"{len(f.example.truth)} things, {len(f.outcomes)} CRF runs {spent:.1f} s"
            )
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)
    return done


def _result_of(f: Finished) -> dict[str, Any]:
    """Return one image of order_results.json: the prediction from exact maps, default bound."""
    found = f.outcomes["exact", "alternate"].found
    return found.replace(image_id=f.example.truth.image_id).to_dict()


def showcase(finished: Sequence[Finished]) -> int:
    """Return the index of the image that illustrates the steps: most orders, <= 12 instances."""

    def worth(f: Finished) -> tuple[bool, int]:
        return len(f.example.truth) <= 12, int(f.example.judged_edges().sum())

    return max(range(len(finished)), key=lambda k: worth(finished[k]))


def damage_images(f: Finished) -> dict[str, ReportImage]:
    """Return figures of a "boundary" with gaps and of the result of either bound on it."""
    name = f"{f.example.key}_gaps"
    images = {}
    for bound in BOUNDS:
        found = f.outcomes["gaps", bound].found
        images[bound] = compared(f.example, found, "check", key=f"{name}_{bound}")["check"]
    images["boundary"] = boundary_image(f.example, f.boundaries["gaps"], f"{name}_boundary")
    return images


def curve_image(rows: Sequence[dict[str, Any]], key: str, title: str) -> ReportImage:
    """Draw the OAIR curves by IoU of all CRF rows."""
    curves = {}
    for j, (bound, how) in enumerate(BOUNDS.items()):
        for i, (condition, what) in enumerate(CONDITIONS.items()):
            curve = next(
                r["curve"] for r in rows if (r["condition"], r["bound"]) == (condition, bound)
            )
            curves[f"{what}, {how}"] = curve | {"style": (i, j)}
    drawing = draw_accuracy_recall(curves, title=title)
    alt = "Accuracy over recall of the occlusion order, one line per input and method."
    return encode_image(drawing, f"{key}_curves", alt, sharpness=1.5, flat=True)


def write_banner(path: Path, smoothness: float) -> None:
    """Write the banner: one generated scene in five panels."""
    example = example_from_scene(scenes.generate(**BANNER_SCENE), "banner", "Banner", 1)
    background_prob, occludes = input_maps(example)
    outcome = run_crf(background_prob, occludes, "alternate", smoothness)
    drawing = draw_banner(example, occludes, outcome.found)
    # Quantizing to every fourth level is not visible and makes the file a third smaller.
    coarse = np.minimum(np.rint(drawing / 4.0) * 4.0, 255.0).astype(np.uint8)
    write_bytes(path, png_bytes(coarse))


def write_page(
    output: Path,
    ordered: Sequence[OrderedPhotograph],
    sets: Sequence[dict[str, Any]],
    network: dict[str, Any] | None,
    options: Options,
) -> None:
    """Write index.html with embedded images, the same images as files, and metrics.json."""
    folder = output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    groups = [one.images for one in ordered]
    groups += [f.images for s in sets for f in s["finished"]]
    groups += [{"curves": s["curves"], **s["damaged"]} for s in sets]
    groups += [one["images"] for one in network["seen"]] if network else []
    for image in (image for group in groups for image in group.values()):
        write_bytes(folder / image.name, image.data)
    settings = {
        "version": __version__,
        "smoothness": options.smoothness,
        "seed": options.seed,
        "min_area": MIN_AREA,
    }
    page = render_report(
        "main_job.html.j2",
        {
            **settings,
            "ordered": ordered,
            "model": MODEL,
            "credit": options.credit if ordered else "",
            "sets": sets,
            "network": network,
            "conditions": CONDITIONS,
            "bounds": BOUNDS,
        },
    )
    with atomic_writer(output / "index.html") as file:
        file.write(page)
    write_json(
        output / "metrics.json", without_nan({**settings, **numbers(ordered, sets, network)})
    )


def numbers(
    ordered: Sequence[OrderedPhotograph],
    sets: Sequence[dict[str, Any]],
    network: dict[str, Any] | None,
) -> dict[str, Any]:
    """Return the contents of metrics.json apart from the settings."""
    return {
        "ordered": [{"title": one.example.title, **one.verdicts} for one in ordered],
        "sets": {
            s["key"]: {
                "images": len(s["finished"]),
                "rows": s["rows"],
                "orders_from_levels": dict(zip(("right", "all"), s["level_orders"], strict=True)),
            }
            for s in sets
        },
        "network": None
        if network is None
        else {"name": network["name"], "images": len(network["seen"]), "rows": network["rows"]},
    }
