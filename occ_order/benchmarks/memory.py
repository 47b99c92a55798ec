"""`occ-order bench memory`: how much memory a training takes, and which batch fits a GPU."""

from __future__ import annotations

import argparse
import ctypes
import resource
import tempfile
from pathlib import Path

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from PIL import Image

import occ_order.methods.build  # noqa: F401  (fills Detectron2's registries)
from occ_order.config import load_cfg
from occ_order.methods.build import build_mapper
from occ_order.scenes import generate, to_record

SIZES = (11, 24, 80)
"""GB of GPUs in the table: GeForce 1080 Ti, as in SLN, RTX 3090, as in OOSIS, and A100 or H100."""

RESERVE = 1.0
"""GB that CUDA, its libraries and fragmentation take."""

GB = 1e9

M_MMAP_THRESHOLD, MMAP_THRESHOLD = -3, 1 << 20
"""Of glibc's `mallopt`: what is larger (bytes) goes back to the system when it is freed."""


def keep_no_freed_memory() -> None:
    """Let the peak of this process be what lives at once, without what was freed (glibc)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)


def peak() -> float:
    """Largest memory of this process so far, bytes (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def random_input(cfg, size: tuple[int, int], instances: int) -> dict:
    """Return the network's input for one generated image."""
    scene = generate(1, size=size, num_instances=instances)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "scene.png")
        Image.fromarray(scene.image).save(file)
        record = to_record(scene, image_id=1, file_name=file)
        for annotation in record["annotations"]:
            annotation["category_id"] = 0
        return build_mapper(cfg, is_train=True)(record)


def activations(model: torch.nn.Module, inputs: dict, *, half: bool) -> float:
    """Bytes that a step takes beside weights and gradients.

    Args:
        model: in training mode, on the CPU.
        inputs: one image as the mapper gives it.
        half: compute in bfloat16 where autocast does, as SOLVER.AMP.ENABLED trains.
    """
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    before = peak()
    with EventStorage(0), torch.autocast("cpu", torch.bfloat16, enabled=half):
        sum(model([inputs]).values()).backward()
    return peak() - before - 4.0 * trained


def run(options: argparse.Namespace) -> int:
    """Measure one step, and print a table; return the exit status."""
    cfg = load_cfg(options.config_file, options.opts)
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.SLN.STAGES, cfg.MODEL.SLN.STAGE_SHARES = ["joint"], [1.0]
    cfg.INPUT.MIN_SIZE_TRAIN = [0]  # the image as it is
    keep_no_freed_memory()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_model(cfg).train()
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    weights = 4.0 * sum(p.numel() for p in model.parameters()) + 8.0 * trained
    inputs = random_input(cfg, tuple(options.size), options.instances)
    each = activations(model, inputs, half=cfg.SOLVER.AMP.ENABLED)
    height, width = options.size
    print(f"weights, gradients and momentum: {weights / GB:.2f} GB")
    print(f"an image of {height} x {width}: {each / GB:.2f} GB")
    print("\n| GPU memory | batch | learning rate |\n| --- | --- | --- |")
    rate = cfg.SOLVER.BASE_LR / cfg.SOLVER.IMS_PER_BATCH
    for size in SIZES:
        batch = int((size - RESERVE - weights / GB) * GB // each)
        print(f"| {size} GB | {batch} | {rate * batch:.4f} |")
    return 0
