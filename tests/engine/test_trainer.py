"""Training stops in time, and the same again gives the same, also where it was interrupted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from occ_order.config import load_cfg
from occ_order.engine import finite


@pytest.fixture
def images(toy, tmp_path):
    toy.write_images(tmp_path / "images")
    return tmp_path / "images"


def weights(trainer):
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key


def test_the_trainer_stops_at_a_loss_that_is_not_finite(toy, images, tmp_path):
    cfg = toy.config(images, tmp_path / "out")
    trainer = toy.QuietTrainer(cfg)
    assert type(trainer._trainer) is finite.FiniteTrainer
    assert not trainer._trainer.async_write_metrics
    assert issubclass(finite.FiniteAMPTrainer, finite.AMPTrainer)
    real, before = trainer.model.forward, weights(trainer)
    trainer.model.forward = lambda batch: {k: v * np.nan for k, v in real(batch).items()}
    with pytest.raises(FloatingPointError, match=r"iteration 0 .*loss_colour = nan.*\.png\)"):
        trainer.train()
    assert_same(weights(trainer), before)
    assert not list(Path(cfg.OUTPUT_DIR).glob("*.pth"))


def test_the_same_seed_gives_the_same_weights_metrics_and_labels(toy, images, tmp_path):
    found = []
    for name in ("one", "two"):
        cfg = toy.config(images, tmp_path / name, "TEST.EVALUATORS", ["OrderResults"])
        trainer = toy.train(cfg)
        results = Path(cfg.OUTPUT_DIR, "inference", "order_results.json").read_text("utf-8")
        found.append((weights(trainer), results))
    assert_same(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
    other = toy.train(toy.config(images, tmp_path / "three", "SEED", 4))
    assert not torch.equal(weights(other)["out.weight"], found[0][0]["out.weight"])


def test_the_loss_at_both_ends_of_a_training_is_written(toy, images, tmp_path):
    trainer = toy.train(toy.config(images, tmp_path / "out"))
    losses = [value for value, _ in trainer.storage.history("total_loss").values()]
    written = json.loads((tmp_path / "out" / "training_time.json").read_text("utf-8"))
    assert len(losses) == written["iterations"] == 20
    assert written["first_loss"] == losses[0]
    assert written["last_loss"] == pytest.approx(sum(losses[10:]) / 10)
    count = sum(value.numel() for value in trainer.model.parameters())
    assert written["parameters"] == pytest.approx(count / 1e6)


@pytest.mark.parametrize(
    "opts",
    [
        [],
        ["SEED", -1],
        ["TEST.EVAL_PERIOD", 5],
        ["DATALOADER.ASPECT_RATIO_GROUPING", False],
        ["DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"],
        ["SOLVER.OPTIMIZER", "ADAMW", "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR"],
    ],
    ids=lambda opts: " ".join(map(str, opts)) or "plain",
)  # fmt: skip
def test_interrupted_and_resumed_ends_with_the_same_weights(toy, images, tmp_path, opts):
    out = tmp_path / "out"
    whole = toy.train(toy.config(images, out, *opts))
    for path in out.glob("*.pth"):
        if path.name not in ("model_0000003.pth", "model_0000007.pth"):
            path.unlink()
    resumed = toy.train(toy.config(images, out, *opts), resume=True)
    assert resumed.start_iter == 8 and resumed.data_loader.batches == 20
    assert_same(weights(resumed), weights(whole))
    assert resumed.scheduler.get_last_lr() == whole.scheduler.get_last_lr()


def test_a_training_killed_before_the_final_file_writes_it_when_resumed(toy, images, tmp_path):
    """The iterations are all done; resuming writes what is missing."""
    cfg = toy.config(images, tmp_path / "out", "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2)
    toy.train(cfg)
    final = tmp_path / "out" / "model_final.pth"
    before = torch.load(final, weights_only=True)
    final.unlink()
    toy.train(cfg, resume=True)
    after = torch.load(final, weights_only=True)
    assert after["iteration"] == before["iteration"] == 3
    assert all(torch.equal(value, after["model"][k]) for k, value in before["model"].items())


def test_evaluation_in_between_does_not_change_the_training(toy, images, tmp_path):
    """The network of the test draws random numbers when it answers, and its training needs some."""
    plain = toy.train(toy.config(images, tmp_path / "plain"))
    often = toy.train(toy.config(images, tmp_path / "often", "TEST.EVAL_PERIOD", 5))
    assert len(list((tmp_path / "often" / "inference").glob("*.json"))) > 0
    assert_same(weights(often), weights(plain))


def test_two_processes_resumed_end_with_the_same_weights(ask, tmp_path):
    first, second = ask("train_together", str(tmp_path), 2)
    assert first["start"] == second["start"] == 4
    assert first["whole"] == second["whole"] == first["resumed"] == second["resumed"]


def test_two_machines_train_as_two_processes_of_one_machine_do(ask, tmp_path):
    """By the command, with the addresses and ranks that Detectron2's launch takes."""
    together = ask("trained_by_command", str(tmp_path / "together"), 1, 2)
    apart = ask("trained_by_command", str(tmp_path / "apart"), 2, 1)
    alone = ask("trained_by_command", str(tmp_path / "alone"), 1, 1)
    assert apart["weights"] == together["weights"] != alone["weights"]
    assert "log.txt.rank1" in apart["files"] and "log.txt.rank1" not in alone["files"]


def test_half_precision_on_a_cpu_trains_weights_of_single_precision(toy, images, tmp_path):
    plain = toy.train(toy.config(images, tmp_path / "plain"))
    half = toy.train(toy.config(images, tmp_path / "half", "SOLVER.AMP.ENABLED", True))
    assert {value.dtype for value in weights(half).values()} == {torch.float32}
    assert not torch.equal(weights(half)["out.weight"], weights(plain)["out.weight"])
    torch.testing.assert_close(
        weights(half)["out.weight"], weights(plain)["out.weight"], atol=0.05, rtol=0.1
    )


def test_a_checkpoint_without_a_place_in_the_data_is_said(toy, images, tmp_path, caplog):
    out = tmp_path / "out"
    trainer = toy.train(toy.config(images, out))
    for path in out.glob("*.pth"):
        path.unlink()
    trainer.iter = 19
    trainer.checkpointer.save("model_best", iteration=19)
    caplog.set_level(logging.WARNING)
    toy.train(toy.config(images, out, "SOLVER.MAX_ITER", 24), resume=True)
    assert "has no state of the training data" in caplog.text
    assert "no random state of process 0" in caplog.text


def test_non_ascii_and_spaced_paths_work(toy, tmp_path):
    folder = tmp_path / "größer als 猫"
    toy.write_images(folder / "bil der")
    cfg = toy.config(folder / "bil der", folder / "aus gabe ñ", "TEST.EVALUATORS", ["OrderResults"])
    (folder / "ein stellung é.yaml").write_text(cfg.dump(), encoding="utf-8")
    loaded = load_cfg(folder / "ein stellung é.yaml")
    trainer = toy.train(loaded)
    out = folder / "aus gabe ñ"
    assert trainer.iter == 20
    assert {p.name for p in out.iterdir()} >= {"model_final.pth", "last_checkpoint", "inference"}
    assert (out / "inference" / "order_results.json").is_file()
