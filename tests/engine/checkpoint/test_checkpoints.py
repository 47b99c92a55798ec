"""Checkpoints: written whole or not at all, resumed from the newest, and read without code."""

from __future__ import annotations

import io
import logging
import os
import pickle
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from occ_order.config import get_cfg
from occ_order.engine.checkpoint import (
    CheckpointError,
    OrderCheckpointer,
    random_state,
    read_checkpoint,
    set_random_state,
    write_checkpoint,
)
from occ_order.engine.launch import argument_parser, main
from occ_order.engine.output import check_output_folder


class Trainer:
    """Stands for the trainer's part of a checkpoint."""

    def __init__(self):
        self.iteration = -1

    def state_dict(self):
        return {"iteration": self.iteration}

    def load_state_dict(self, state):
        self.iteration = state["iteration"]


def net(bias=0.0, width=3):
    model = nn.Linear(2, width)
    nn.init.constant_(model.bias, bias)
    return model


def saved(folder, iterations=(3, 7, 11)):
    """A folder with checkpoints; the bias of each is its iteration."""
    trainer = Trainer()
    for iteration in iterations:
        trainer.iteration = iteration
        checkpointer = OrderCheckpointer(net(iteration), str(folder), trainer=trainer)
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    return folder


def resumed(folder):
    """The iteration that a resumed training comes from, and its bias."""
    model, trainer = net(-5), Trainer()
    OrderCheckpointer(model, str(folder), trainer=trainer).resume_or_load("", resume=True)
    return trainer.iteration, model.bias[0].item()


# --- what a resumed training starts from


def test_a_resumed_training_goes_on_from_the_newest_checkpoint(tmp_path):
    assert resumed(saved(tmp_path)) == (11, 11.0)


def test_the_newest_is_that_of_the_latest_iteration_whatever_its_date(tmp_path):
    """Files that were copied or restored have other dates."""
    saved(tmp_path)
    os.utime(tmp_path / "model_0000011.pth", (0, 0))
    assert resumed(tmp_path) == (11, 11.0)


@pytest.mark.parametrize("content", [None, "", "model_9999999.pth", "\x00\xff", "../elsewhere.pth"])
def test_a_last_checkpoint_that_is_missing_empty_or_points_nowhere_does_no_harm(
    tmp_path, content, caplog
):
    saved(tmp_path)
    (tmp_path / "last_checkpoint").unlink()
    if content is not None:
        (tmp_path / "last_checkpoint").write_text(content, encoding="utf-8")
    assert resumed(tmp_path) == (11, 11.0)
    assert "the newest checkpoint that can be loaded is" in caplog.text


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_passed_over(tmp_path, keep, caplog):
    saved(tmp_path)
    newest = tmp_path / "model_0000011.pth"
    whole = newest.read_bytes()
    newest.write_bytes(whole[: keep if keep in (0, 1, 100) else int(keep * len(whole))])
    assert resumed(tmp_path) == (7, 7.0)
    assert f"Passing over {newest}" in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "gone"])
def test_without_a_file_to_go_on_from_it_refuses_to_start_anew(tmp_path, damage):
    saved(tmp_path)
    for path in tmp_path.glob("*.pth"):
        path.unlink() if damage == "gone" else path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="cannot resume, and does not restart silently"):
        resumed(tmp_path)


def test_an_empty_folder_starts_at_0_and_says_so(tmp_path, caplog):
    assert resumed(tmp_path) == (-1, -5.0)
    assert f"Nothing to resume in {tmp_path}: starting at iteration 0" in caplog.text


def test_weights_without_a_training_are_not_resumed_from(tmp_path):
    saved(tmp_path, [3])
    write_checkpoint(tmp_path / "pretrained.pth", {"model": net(50).state_dict()})
    assert resumed(tmp_path) == (3, 3.0)


def test_a_checkpoint_of_another_network_is_not_resumed_from(tmp_path):
    saved(tmp_path)
    other = OrderCheckpointer(net(width=4), str(tmp_path), trainer=Trainer())
    with pytest.raises(
        CheckpointError, match=r"weight \(3, 2\) in the file, \(4, 2\) in the model"
    ):
        other.resume_or_load("", resume=True)


def test_left_overs_of_an_interrupted_write_are_removed(tmp_path):
    saved(tmp_path)
    (tmp_path / ".k3j2.part").write_bytes(b"half")
    OrderCheckpointer(net(), str(tmp_path)).resume_or_load("", resume=True)
    assert list(tmp_path.glob(".*.part"))  # an evaluation leaves a running training alone
    resumed(tmp_path)
    assert not list(tmp_path.glob(".*.part"))


def test_random_states_come_back(tmp_path):
    write_checkpoint(tmp_path / "r.pth", {"model": {"w": torch.ones(1)}, "random": random_state()})
    expected = random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()
    torch.randn(5), random.random(), np.random.rand(7)
    set_random_state(read_checkpoint(tmp_path / "r.pth")["random"])
    assert (random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()) == expected
    with pytest.raises(ValueError, match="not the state"):
        set_random_state({"python": 3})


def test_a_training_killed_twenty_times_ends_with_the_same_weights(ask, tmp_path):
    """kill -9 at random moments and inside saves; a checkpoint is made every 2 iterations."""
    answer = ask("kills", str(tmp_path), 20, 0)
    newest = -1
    for child in answer["children"]:
        if child["start"]:  # otherwise it was killed before it could begin
            assert child["start"] == [str(newest + 1)]
        assert max(child["iterations"], default=-1) >= newest
        newest = max(child["iterations"], default=-1)
    *killed, last = answer["children"]
    assert [child["status"] for child in killed] == [9] * 20
    assert last["status"] == 0 and newest == 199
    assert sum(bool(child["start"]) for child in killed) >= 8
    assert answer["same"]


# --- a folder that cannot be written, a full disk


def test_a_full_disk_is_named_and_earlier_checkpoints_stay(ask, tmp_path):
    path = tmp_path / "out" / "model_final.pth"
    path.parent.mkdir()
    path.write_bytes(b"the one before")
    said = ask("full_disk", str(path), 200_000)
    assert said.startswith(f"{path}: the checkpoint could not be written (")
    assert "File too large" in said and "earlier checkpoints are not affected" in said
    assert path.read_bytes() == b"the one before"
    assert os.listdir(path.parent) == ["model_final.pth"]


def test_an_output_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "out", "/proc/no/such/place"):
        with pytest.raises(OSError, match="OUTPUT_DIR .* cannot be written"):
            check_output_folder(path)
    check_output_folder(tmp_path / "new" / "größer")
    assert os.listdir(tmp_path / "new" / "größer") == []


def test_the_command_refuses_such_a_folder_before_it_works(tmp_path, toy):
    toy.write_images(tmp_path)
    (tmp_path / "c.yaml").write_text(toy.config(tmp_path, "").dump(), encoding="utf-8")
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    opts = ["--config-file", str(tmp_path / "c.yaml"), "OUTPUT_DIR", str(tmp_path / "out")]
    with pytest.raises(OSError, match="cannot be written"):
        main(argument_parser().parse_args(opts))


def test_an_interrupted_write_leaves_no_half_file(tmp_path, monkeypatch):
    saved(tmp_path, [3])

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left on device"):
        saved(tmp_path, [7])
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000003.pth"]
    assert resumed(tmp_path) == (3, 3.0)


# --- files that hold more than weights, or other weights


class Hostile:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def hostile(folder, name, trace):
    path = folder / name
    if name.endswith(".pkl"):
        path.write_bytes(pickle.dumps({"model": Hostile(trace), "__author__": "me"}))
    elif name.startswith("old"):
        torch.save({"model": Hostile(trace)}, path, _use_new_zipfile_serialization=False)
    elif name.startswith("plain"):
        path.write_bytes(pickle.dumps({"model": Hostile(trace)}, protocol=2))
    else:
        torch.save({"model": Hostile(trace)}, path)
    return str(path)


HOSTILE = ["a.pkl", "new.pth", "old.pth", "plain.pth", "x.pth.tar", "y.pyth"]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_code_runs(tmp_path, name):
    trace = tmp_path / "trace"
    path = hostile(tmp_path, name, trace)
    with pytest.raises(CheckpointError, match=name):
        OrderCheckpointer(net()).load(path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["a.pkl", "new.pth"])
def test_the_message_names_the_flag_and_the_flag_is_logged(tmp_path, name, caplog):
    path = tmp_path / name
    weights = {key: value.numpy() for key, value in net(4).state_dict().items()}
    if name == "a.pkl":
        path.write_bytes(pickle.dumps({"model": weights, "__author__": "me", "args": Path("x")}))
    else:
        torch.save({"model": weights, "args": Path("x")}, path)
    model = net()
    with pytest.raises(CheckpointError, match="--allow-unsafe-pickle"):
        OrderCheckpointer(model).load(str(path))
    OrderCheckpointer(model, allow_unsafe_pickle=True).load(str(path))
    assert model.bias[0] == 4
    assert f"{path}: loading" in caplog.text and "can run code" in caplog.text


def test_a_hostile_file_is_not_resumed_from(tmp_path):
    saved(tmp_path)
    trace = tmp_path / "trace"
    hostile(tmp_path, "model_0000099.pth", trace)
    assert resumed(tmp_path) == (11, 11.0)
    assert not trace.exists()


def test_the_flag_is_an_argument_and_not_a_setting():
    assert argument_parser().parse_args(["--allow-unsafe-pickle"]).allow_unsafe_pickle
    assert not argument_parser().parse_args([]).allow_unsafe_pickle
    assert "UNSAFE" not in get_cfg().dump().upper()


def test_safetensors_are_loaded_and_damaged_ones_refused(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(net(6).state_dict(), tmp_path / "m.safetensors")
    model = net()
    OrderCheckpointer(model).load(str(tmp_path / "m.safetensors"))
    assert model.bias[0] == 6
    (tmp_path / "m.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0 not json")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        OrderCheckpointer(model).load(str(tmp_path / "m.safetensors"))


def test_without_safetensors_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "m.safetensors").write_bytes(b"x")
    with pytest.raises(ImportError, match="pip install safetensors"):
        read_checkpoint(tmp_path / "m.safetensors")


@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_an_authors_file_with_module_in_front_is_loaded(tmp_path, key):
    weights = {f"module.{name}": value for name, value in net(8).state_dict().items()}
    torch.save({key: weights, "epoch": 3} if key else weights, tmp_path / "a.pth.tar")
    model = net()
    OrderCheckpointer(model, strict=True).load(str(tmp_path / "a.pth.tar"))
    assert model.bias[0] == 8


def test_what_does_not_fit_is_listed(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    weights = {"weight": torch.zeros(5, 2), "bias": torch.ones(3), "extra.w": torch.zeros(1)}
    torch.save({"model": weights}, tmp_path / "m.pth")
    model = net()
    OrderCheckpointer(model).load(str(tmp_path / "m.pth"))
    assert model.bias[0] == 1
    assert "(5, 2) in the checkpoint but (3, 2) in the model" in caplog.text
    assert "extra" in caplog.text
    with pytest.raises(CheckpointError, match=r"m\.pth: does not fit the model; of another shape"):
        OrderCheckpointer(model, strict=True).load(str(tmp_path / "m.pth"))
    torch.save({"model": {"weight": torch.zeros(3, 2)}}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=r"does not fit the model; missing: bias"):
        OrderCheckpointer(model, strict=True).load(str(tmp_path / "m.pth"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": {"conv1.weight": torch.zeros(1)}}, "none of its weights fits.*conv1.weight"),
        ({"model": {}}, "contains no weights: it is empty"),
        ({"epoch": 3}, "contains no weights: 'epoch' is not a tensor"),
        ([1, 2], "must contain a dict of weights, got list"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path, data, message):
    torch.save(data, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match=f"m.pth: {message}"):
        OrderCheckpointer(net()).load(str(tmp_path / "m.pth"))


def test_a_file_for_another_network_with_batch_norms_is_refused(tmp_path):
    """The counters of batch norms are never reported as missing: they must not count as fitting."""
    torch.save({"model": {"else.weight": torch.zeros(1)}}, tmp_path / "m.pth")
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1), torch.nn.BatchNorm2d(1))
    with pytest.raises(CheckpointError, match=r"m\.pth: none of its weights fits the model: else"):
        OrderCheckpointer(model).load(str(tmp_path / "m.pth"))


def test_a_checkpoint_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        OrderCheckpointer(net()).load(str(tmp_path / "nowhere.pth"))


def test_numbers_of_numpy_are_saved_so_that_they_can_be_loaded(tmp_path):
    data = {"model": {"w": torch.ones(1)}, "best": (np.float64(0.5), [np.arange(3)])}
    write_checkpoint(tmp_path / "m.pth", data)
    best = read_checkpoint(tmp_path / "m.pth")["best"]
    assert best[0] == 0.5 and best[1][0].tolist() == [0, 1, 2]


def checkpoint_with_code(harmful):
    file = io.BytesIO()
    torch.save({"model": {"w": torch.zeros(1)}, "x": harmful}, file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.pth", "a.pth.tar", "a.pyth", "a.pt", "a.bin", "a", "a.pkl"])
@pytest.mark.parametrize("content", ["torch", "pickle"])
def test_no_checkpoint_runs_code(tmp_path, harmful, name, content):
    evil = {"torch": checkpoint_with_code, "pickle": pickle.dumps}[content]
    path = tmp_path / name
    path.write_bytes(evil(harmful))
    with pytest.raises(CheckpointError, match=f"{name}: "):
        read_checkpoint(path)


def test_a_pickle_that_is_named_safetensors_is_refused(tmp_path, harmful):
    pytest.importorskip("safetensors")
    path = tmp_path / "a.safetensors"
    path.write_bytes(checkpoint_with_code(harmful))
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_checkpoint(path)
