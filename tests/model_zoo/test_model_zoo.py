"""The zoo's list, its weights and its page fit together."""

import hashlib
import json
from types import SimpleNamespace

import pytest
import torch

from occ_order import model_zoo
from occ_order.commands import zoo as zoo_commands
from occ_order.model_zoo import zoo


@pytest.mark.parametrize("name", model_zoo.names())
def test_weights_are_those_that_were_measured_and_load(name):
    model = model_zoo.get(name)
    assert not model.training
    stored = torch.load(model_zoo.checkpoint_file(name), weights_only=True)["model"]
    own = model.state_dict()
    assert set(stored) == set(own)
    assert all(torch.equal(stored[key].to(own[key].dtype), own[key]) for key in own)


def test_a_model_that_is_not_there():
    with pytest.raises(ValueError, match="no 'x'; it has"):
        model_zoo.row("x")


def test_every_model_says_what_it_was_trained_on_and_what_to_expect():
    for name in model_zoo.names():
        row = model_zoo.row(name)
        said = model_zoo.introduce(name)
        assert said.startswith(f"{name} (trained on {row['trained_on']}; ") and "{" not in said
    order = model_zoo.row("mask_order_photos")["metrics"]["cocoa_demo/direction/all"]
    assert f"; {order:.0f} % of pairs right on COCO" in model_zoo.introduce("mask_order_photos")


def entry(**changes):
    return {key: 0 for key in model_zoo.ROW_KEYS} | {"name": "a", "checkpoint": "a.pth"} | changes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"name": "a"}], "row 'a' has the keys"),
        ([entry(more=1)], "expected"),
        ([entry(), entry()], "duplicate name"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, rows, message):
    (tmp_path / "zoo.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=message):
        model_zoo.rows(tmp_path / "zoo.json")


def test_words_for_people_stay_unless_others_are_given(monkeypatch):
    listed = entry(name="a", trained_on="scenes", expect="little")
    monkeypatch.setattr(model_zoo, "rows", lambda: [listed])
    words = {"trained_on": None, "expect": "much", "score_threshold": 0.4}
    said = zoo_commands.words_for_people(SimpleNamespace(name="a", **words))
    assert said == {"trained_on": "scenes", "expect": "much", "score_threshold": 0.4}
    new = SimpleNamespace(name="b", **dict.fromkeys(words))
    assert zoo_commands.words_for_people(new) == {}


def test_other_weights_than_the_listed_ones_are_refused(tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    weights = {"w": torch.arange(4.0), "n": torch.tensor(3)}
    digest = model_zoo.save_checkpoint(weights, tmp_path / "checkpoints" / "a.pth")
    monkeypatch.setattr(zoo, "HERE", tmp_path)
    monkeypatch.setattr(zoo, "rows", lambda: [entry(sha256=digest)])
    stored = torch.load(model_zoo.checkpoint_file("a"), weights_only=True)["model"]
    assert stored["w"].dtype == torch.float16 and stored["n"].dtype == torch.int64
    assert torch.equal(stored["w"].float(), weights["w"])
    (tmp_path / "checkpoints" / "a.pth").write_bytes(b"else")
    with pytest.raises(ValueError, match=f"sha256 is {hashlib.sha256(b'else').hexdigest()}"):
        model_zoo.checkpoint_file("a")
    (tmp_path / "checkpoints" / "a.pth").unlink()
    with pytest.raises(FileNotFoundError, match="not installed"):
        model_zoo.checkpoint_file("a")


@pytest.mark.parametrize("value", [float("nan"), 1e6])
def test_weights_that_float16_cannot_hold_are_refused(tmp_path, value):
    with pytest.raises(ValueError, match="weight w is not finite"):
        model_zoo.save_checkpoint({"w": torch.tensor([value])}, tmp_path / "a.pth")
    assert list(tmp_path.iterdir()) == []
