#!/usr/bin/env python
"""Order the instances of your own pictures; with your own masks, or with those a model finds.

    python demo/demo.py --input photo.jpg --output out                          # finds instances
    python demo/demo.py --input photo.jpg --masks masks.json --output out       # COCO json
    python demo/demo.py --input "photos/*.jpg" --masks labels/ --output out     # masks of each
    python demo/demo.py --input clip.mp4 --every 10 --output out
    python demo/demo.py --config-file C --opts MODEL.WEIGHTS w.pth --input photo.jpg --output out
    python demo/demo.py --list-models

OUTPUT gets `order_results.json` and, for each picture, a folder with

    overlay.png occlusion.png occlusion_graph.png depth_graph.png relative_depth.png amodal.png
    levels.png sem_dist.npz disparity.png disparity_color.png    (as far as the model says these)
    layers/layer_000.png ... layers.json    RGBA layers, front to back; --psd: one file as well
    occlusion.graphml occlusion.dot ...      with --graphs

--masks takes a COCO json (annotations are found by the picture's file name), a labelme file, a
label map (PNG, 0 = background), a folder of mask PNGs, or a folder that holds such a thing for each
of several pictures, named like the picture.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from occ_order import model_zoo  # noqa: E402
from occ_order.draw.disparity import save_disparity  # noqa: E402
from occ_order.draw.levels import draw_sem_dist  # noqa: E402
from occ_order.draw.predictions import prediction_pictures  # noqa: E402
from occ_order.engine.predictor import (
    OrderPredictor,  # noqa: E402
    load_picture,  # noqa: E402
)
from occ_order.files import atomic_writer, folder_lock, list_images, resolve_inside  # noqa: E402  # noqa: E402
from occ_order.formats.layered_image import layers_of, save_layers, save_psd  # noqa: E402
from occ_order.formats.sem_dist import save_sem_dist  # noqa: E402
from occ_order.formats.user_masks import load_masks, masks_file  # noqa: E402
from occ_order.methods.common.results import image_result  # noqa: E402
from occ_order.methods.sln.decode import sem_dist_maps  # noqa: E402
from occ_order.order import io  # noqa: E402

DETECTS, ORDERS_MASKS = "oosis_mini_scenes", model_zoo.ORDERS_MASKS
"""Models of the zoo that are taken where none is named: without masks and with them."""
VIDEOS = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"}


@dataclass(frozen=True)
class Picture:
    """One thing to predict on.

    Attributes:
        name: for the results; the stem of its folder.
        file: where masks are looked up by.
        image: uint8 (H, W, 3) RGB; None = still to be read from `file`.
        error: why there is none.
    """

    name: str
    file: Path
    image: np.ndarray | None = None
    error: str = ""


@dataclass(frozen=True)
class Answer:
    """What a model says about one picture.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        result: its entry in order_results.json; None if the model knows no instances.
        names: of the instances, if the user's file has any.
        disparity: float (H, W), larger = nearer, if the model has it.
        sem_dist: float32 (N, H, W), the sem-dist map of each instance, if the model has them (SLN).
    """

    image: np.ndarray
    result: dict[str, Any] | None
    names: list[str] | None
    disparity: np.ndarray | None
    sem_dist: np.ndarray | None = None


def find_inputs(patterns: Sequence[str]) -> list[Path]:
    """Files, folders and globs as files; every one of them there.

    Raises:
        FileNotFoundError: a pattern matches nothing.
    """
    files: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            found = [path / name for name in list_images(path)]
        elif path.is_file():
            found = [path]
        else:
            found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))
        if not found:
            raise FileNotFoundError(f"--input {pattern}: no such file, no picture in it, no match")
        files += found
    return files


def pictures_of(files: Sequence[Path], every: int) -> Iterator[Picture]:
    """Pictures, and of a video each `every`-th frame; names are unique."""
    seen: dict[str, int] = {}
    for file in files:
        seen[file.stem] = seen.get(file.stem, 0) + 1
        name = file.stem if seen[file.stem] == 1 else f"{file.stem}_{seen[file.stem]}"
        if file.suffix.lower() in VIDEOS:
            yield from frames(file, name, every)
        else:
            yield Picture(name, file)


def frames(file: Path, name: str, every: int) -> Iterator[Picture]:
    """Each `every`-th frame of a video, or one picture with an error if it cannot be read."""
    if not is_video(file):
        yield Picture(name, file, error="not a video that can be read")
        return
    video = cv2.VideoCapture(str(file))
    try:
        index = 0
        while True:
            there, image = video.read()
            if not there:
                break
            if index % every == 0:
                yield Picture(f"{name}_{index:06d}", file, np.ascontiguousarray(image[..., ::-1]))
            index += 1
        if index == 0:
            yield Picture(name, file, error="not a video that can be read")
    finally:
        video.release()


def is_video(file: Path) -> bool:
    """Whether a file begins as AVI, Matroska or MP4 do.

    OpenCV goes by the content, and takes lists of other files and addresses (HLS) for videos, too.
    """
    with open(file, "rb") as opened:
        start = opened.read(12)
    return start.startswith((b"RIFF", b"\x1a\x45\xdf\xa3")) or start[4:8] == b"ftyp"


def build_predictor(options: argparse.Namespace) -> OrderPredictor:
    """The model that the command line names, or the zoo's for the task."""
    if options.config_file:
        opts = [*options.opts, "MODEL.DEVICE", options.device]
        return OrderPredictor.from_config(options.config_file, opts)
    name = options.model or (ORDERS_MASKS if options.masks else DETECTS)
    return OrderPredictor.from_zoo(name, device=options.device)


def predict(predictor: OrderPredictor, picture: Picture, options: argparse.Namespace) -> Answer:
    """Runs the model on one picture, with the user's masks if there are any."""
    image = load_picture(picture.file) if picture.image is None else picture.image
    size = image.shape[:2]
    if options.masks:
        given = load_masks(
            masks_file(options.masks, picture.file),
            size,
            image_name=picture.file.name,
            keep_crowds=options.keep_crowds,
            skip_damaged=options.skip_damaged,
        )
        output = predictor(image, given.masks)
    else:
        given, output = None, predictor(image)
    disparity = output.get("disparity")
    disparity = None if disparity is None else disparity.cpu().numpy()
    if "instances" not in output:
        return Answer(image, None, None, disparity)
    found = output["instances"].to("cpu")
    if given is None and options.score_threshold is not None:
        found = found[found.scores > options.score_threshold]
    result = image_result(found, image_id=picture.name)
    result["file_name"] = picture.file.name
    if given is None:
        sem_dist = sem_dist_maps(found) if found.has("pred_levels") else None
        return Answer(image, result, None, disparity, sem_dist)
    for k, instance in enumerate(result["instances"]):
        instance.update(id=given.ids[k], category_id=given.category_ids[k], score=given.scores[k])
    return Answer(image, result, given.names if any(given.names) else None, disparity)


def write(folder: Path, answer: Answer, options: argparse.Namespace) -> None:
    """Writes everything that belongs to one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    if answer.disparity is not None:
        save_disparity(folder / "disparity", answer.disparity)
    result = answer.result
    if result is None:
        return
    drawn = prediction_pictures(answer.image, result, class_names=answer.names)
    if answer.sem_dist is not None:
        save_sem_dist(folder / "sem_dist.npz", answer.sem_dist)
        drawn["levels"] = draw_sem_dist(answer.image, answer.sem_dist)
    for name, picture in drawn.items():
        with atomic_writer(folder / f"{name}.png", "wb", sync=False) as file:
            Image.fromarray(picture).save(file, format="PNG")
    orders = [key for key in ("occlusion", "depth") if key in result]
    if orders:
        layers = layers_of(result, answer.image)
        save_layers(folder / "layers", layers)
        if options.psd:
            save_psd(folder / "layers.psd", layers)
    if options.graphs:
        for order in orders:
            io.save_graphml(folder / f"{order}.graphml", result, order=order, names=answer.names)
            io.save_dot(folder / f"{order}.dot", result, order=order, names=answer.names)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", nargs="+", help="pictures, folders, globs, videos")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument(
        "--masks", type=Path, help="COCO json, label map, folder of masks; see above"
    )
    parser.add_argument(
        "--keep-crowds",
        action="store_true",
        help="of --masks, also those with 'iscrowd' 1, which CVAT gives to masks of its brush",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="of --masks, leave out entries that cannot be read",
    )
    parser.add_argument("--model", help="name in the model zoo")
    parser.add_argument("--config-file", help="a model by its YAML file instead")
    parser.add_argument("--opts", nargs="+", default=[], help="KEY VALUE ... for --config-file")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument("--every", type=int, default=1, help="of a video, each N-th frame")
    parser.add_argument(
        "--score-threshold",
        type=float,
        help="leave out found instances with a lower score; default: all that the model gives",
    )
    parser.add_argument("--psd", action="store_true", help="layers as one PSD file as well")
    parser.add_argument("--graphs", action="store_true", help="orders as GraphML and DOT as well")
    parser.add_argument("--list-models", action="store_true", help="list the model zoo and stop")
    options = parser.parse_args(arguments)
    if not options.list_models and not (options.input and options.output):
        parser.error("--input and --output are needed")
    if options.every < 1:
        parser.error(f"--every must be at least 1, got {options.every}")
    if options.model and options.config_file:
        parser.error("--model and --config-file name the same thing: give one")
    return options


def run(options: argparse.Namespace) -> int:
    """Predicts on everything; a picture that cannot be used is reported and does not stop others.

    Returns:
        The number of pictures that failed.
    """
    files = find_inputs(options.input)
    predictor = build_predictor(options)
    done, failed = 0, 0
    results = options.output / "order_results.json"
    with folder_lock(options.output), io.growing_results(results) as add:
        for picture in tqdm(pictures_of(files, options.every), unit="picture", disable=None):
            try:
                if picture.error:
                    raise ValueError(picture.error)
                picture.name.encode("utf-8")  # which results hold
                folder = resolve_inside(options.output, picture.name)
                answer = predict(predictor, picture, options)
            except (ValueError, OSError) as error:
                message = f"{picture.file}: {error}".encode("utf-8", "backslashreplace")
                tqdm.write(message.decode("utf-8"), file=sys.stderr)
                failed += 1
                continue
            write(folder, answer, options)
            done += 1
            if answer.result is not None:
                add(answer.result)
    print(f"{options.output}: {done} pictures, {failed} failed")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = parse_arguments(arguments)
    if options.list_models:
        for row in model_zoo.rows():
            print(f"{row['name']:32s} {row['config']}")
        return 0
    try:
        return 1 if run(options) else 0
    except (ValueError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
