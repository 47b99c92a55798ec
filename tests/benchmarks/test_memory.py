"""The table of batches and learning rates: its arithmetic."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

import torch

from occ_order.benchmarks import memory
from occ_order.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_batch_and_learning_rate_follow_from_the_memory(monkeypatch, capsys):
    """1 GB is kept back; the learning rate is 0.02 for 16 images."""
    monkeypatch.setattr(memory, "activations", lambda model, inputs, half: 2e9)
    file = str(ROOT / "configs/SLN/sln_mini_scenes.yaml")
    options = ["SOLVER.BASE_LR", "0.02", "SOLVER.IMS_PER_BATCH", "16"]
    assert main(["bench", "memory", "--config-file", file, "--size", "96", "96", *options]) == 0
    printed = capsys.readouterr().out
    weights = float(re.search(r"momentum: ([\d.]+) GB", printed)[1])
    assert weights < 0.1 and "an image of 96 x 96: 2.00 GB" in printed
    rows = re.findall(r"\| (\d+) GB \| (\d+) \| ([\d.]+) \|", printed)
    assert [(int(gb), int(batch)) for gb, batch, _ in rows] == [(11, 4), (24, 11), (80, 39)]
    assert [float(rate) for _, _, rate in rows] == pytest.approx(
        [0.005, 0.01375, 0.04875], abs=1e-4
    )


@pytest.mark.parametrize("half, dtype", [(False, torch.float32), (True, torch.bfloat16)])
def test_a_step_is_taken_in_the_precision_that_is_asked_for(half, dtype):
    seen = []

    class Net(torch.nn.Linear):
        def forward(self, batch):
            out = super().forward(batch[0]["image"])
            seen.append(out.dtype)
            return {"loss": out.float().sum()}

    memory.activations(Net(3, 2), {"image": torch.ones(1, 3)}, half=half)
    assert seen == [dtype]


def test_the_image_goes_in_as_it_is():
    cfg = memory.load_cfg(ROOT / "configs/SLN/sln_mini_scenes.yaml")
    cfg.INPUT.MIN_SIZE_TRAIN = [0]
    inputs = memory.random_input(cfg, (96, 128), 4)
    assert inputs["image"].shape == (3, 96, 128) and len(inputs["instances"]) >= 2
