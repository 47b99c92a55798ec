"""`occ-order bench table`: rows, seeds, and the table that comes out; nothing is trained here."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from occ_order.cli import main
from occ_order.commands import table

TABLE = """
minutes: 2
seeds: [4, 7]
rows:
  - {name: A net, config: a.yaml, opts: {X: "{output}/start.pth"}}
  - {name: Once, config: b.yaml, seeds: [1], iterations: 50}
  - {name: A net again, config: c.yaml, weights_from: A net}
columns: {score: task/metric, other: task/missing}
"""


@pytest.fixture
def tool():
    """The module that does the work."""
    return table


@pytest.fixture
def calls(tool, monkeypatch):
    """What would have been trained: name of the folder -> options; each run scores its number."""
    made: dict[str, list[str]] = {}

    def train_net(row, folder, *more):
        made[folder.name] = list(more)
        (folder / "inference").mkdir(parents=True)
        iterations = (
            int(more[more.index("SOLVER.MAX_ITER") + 1]) if "SOLVER.MAX_ITER" in more else 0
        )
        time = {"iterations": iterations, "cpu_seconds": iterations * 0.5, "first_loss": 3.25}
        (folder / "training_time.json").write_text(json.dumps(time))
        scores = {"task": {"metric": float(len(made))}}
        (folder / "inference" / "scores.json").write_text(json.dumps(scores))

    monkeypatch.setattr(tool, "train_net", train_net)
    return made


def run(tool, tmp_path, text: str = TABLE, *more: str) -> int:
    path = tmp_path / "table.yaml"
    path.write_text(text)
    return main(["bench", "table", "--table", str(path), "--output", str(tmp_path / "out"), *more])


def test_each_row_runs_with_each_of_its_seeds(tool, calls, tmp_path, capsys) -> None:
    assert run(tool, tmp_path) == 0
    trial, first, second, once, again, again_7 = calls.items()
    assert trial[0] == "a_net_trial"
    # A trial of thirty iterations took half a second each: 240 fit into two minutes.
    assert first == ("a_net", ["SEED", "4", "SOLVER.MAX_ITER", "240"])
    assert second == ("a_net_seed_7", ["SEED", "7", "SOLVER.MAX_ITER", "240"])
    assert once == ("once", ["SEED", "1", "SOLVER.MAX_ITER", "50"])
    out = tmp_path / "out"
    assert again[1] == ["SEED", "4", "MODEL.WEIGHTS", str(out / "a_net" / "model_final.pth")]
    assert again_7[0] == "a_net_again_seed_7"
    assert again_7[1][-1] == str(out / "a_net_seed_7" / "model_final.pth")
    lines = (out / "table.md").read_text().splitlines()
    assert lines[2] == "| A net | 2.50 ± 0.71 | - | 2.0 | 240 |"  # runs two and three
    assert lines[3] == "| Once | 4.00 | - | 0.4 | 50 |"
    assert lines[4] == "| A net again | 5.50 ± 0.71 | - | - | - |"
    assert capsys.readouterr().out.startswith("|  | score | other | CPU min | iterations |")


def test_an_interrupted_table_goes_on_with_the_same_number_of_iterations(
    tool, calls, tmp_path
) -> None:
    assert run(tool, tmp_path) == 0
    (tmp_path / "out" / "a_net_seed_7" / "inference" / "scores.json").unlink()
    calls.clear()
    (tmp_path / "out" / "a_net_seed_7" / "inference").rmdir()
    assert run(tool, tmp_path) == 0
    assert calls == {"a_net_seed_7": ["SEED", "7", "SOLVER.MAX_ITER", "240"]}


def test_without_seeds_a_row_runs_once_as_its_configuration_says(tool, calls, tmp_path) -> None:
    text = TABLE.replace("seeds: [4, 7]\n", "").replace("seeds: [1], ", "")
    assert run(tool, tmp_path, text, "--only", "Once", "A net again") == 0
    assert calls["once"] == ["SOLVER.MAX_ITER", "50"]
    assert calls["a_net_again"][0] == "MODEL.WEIGHTS"
    assert "| A net | - | - | - | - |" in (tmp_path / "out" / "table.md").read_text()


def test_a_column_shows_what_the_trainer_wrote(tool, calls, tmp_path) -> None:
    text = """
rows:
  - {name: before, config: a.yaml, train: false}
  - {name: after, config: a.yaml, iterations: 4}
columns: {loss: training/first_loss, score: task/metric}
"""
    assert run(tool, tmp_path, text) == 0
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert lines[2:] == ["| before | - | 1.00 | - | - |", "| after | 3.25 | 2.00 | 0.0 | 4 |"]


@pytest.mark.parametrize(
    "change, message",
    [
        (("name: Once", "name: A net"), "names must differ"),
        (("weights_from: A net", "weights_from: B"), "needs name and config"),
        (("weights_from: A net", "weights_from: [A net, B]"), "needs name and config"),
        (("seeds: [1]", "seed: 1"), "needs name and config"),
        (('opts: {X: "{output}/start.pth"}', "opts: X"), "'A net': opts must map keys to values"),
        (("columns:", "colums:"), r"no \['columns'\]"),
        (("seeds: [4, 7]", "seeds: 4"), "seeds must be a list of different integers"),
        (("seeds: [4, 7]", "seeds: [4, 4]"), "seeds must be a list of different integers"),
        (("seeds: [1]", "seeds: []"), "seeds must be a list of different integers"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(change, message, tool, calls, tmp_path, capsys):
    assert run(tool, tmp_path, TABLE.replace(*change)) == 2
    assert not calls
    error = capsys.readouterr().err
    assert str(tmp_path / "table.yaml") in error
    assert re.search(message, error)


@pytest.mark.parametrize(
    "opts, message",
    [
        ("[--allow-unsafe-pickle, MODEL.WEIGHTS, a.pkl]", "--allow-unsafe-pickle may only be set"),
        ("[SEED, 1, --allow-unsafe, 1]", "--allow-unsafe may only be set on the command line"),
        ("{MODEL.WEIGHTS: 'http://h/a.pth'}", "MODEL.WEIGHTS: only files and detectron2:// URLs"),
        ("{LOGGING.WANDB_PROJECT: mine}", "LOGGING.WANDB_PROJECT may only be set"),
    ],
)
def test_a_table_may_no_more_than_a_config_file(opts, message, tool, calls, tmp_path, capsys):
    """Its settings become arguments of `occ-order train`."""
    assert run(tool, tmp_path, TABLE.replace('{X: "{output}/start.pth"}', opts)) == 2
    assert not calls
    assert f"table.yaml: row 'A net': opts: {message}" in capsys.readouterr().err
    assert run(tool, tmp_path, TABLE.replace('"{output}/start.pth"', "detectron2://a.pkl")) == 0


@pytest.mark.parametrize(
    "text, message",
    [
        ("rows: null\ncolumns: {}", "'rows' must be a list, got None"),
        ("rows: [1]\ncolumns: {}", "row 0: must be an object, got 1"),
        ("rows: [{name: 1, config: c}]\ncolumns: {}", "row 0: 'name' must be a string, got 1"),
        ("rows: []\ncolumns: {a: 1}", "'column a' must be a string, got 1"),
        ("rows: !!python/name:os.system\ncolumns: {}", "YAML tags can run code"),
        ("a: &a [1]\nb: &b " + str(["*a"] * 400).replace("'", "") + "\nc: &c "
         + str(["*b"] * 400).replace("'", ""), "its aliases expand to more than"),
    ],
)  # fmt: skip
def test_a_damaged_table_is_refused(text, message, tool, calls, tmp_path, capsys):
    assert run(tool, tmp_path, text) == 2
    assert f"table.yaml: {message}" in capsys.readouterr().err


def test_without_minutes_a_row_has_the_schedule_of_its_configuration(tool, calls, tmp_path) -> None:
    text = TABLE.replace("minutes: 2\n", "").replace("seeds: [4, 7]\n", "")
    assert run(tool, tmp_path, text, "--only", "A net") == 0
    assert calls == {"a_net": []}


def test_settings_are_a_mapping_or_words(tool, tmp_path) -> None:
    row = {"opts": {"A": [1, "b"], "C.D": True, "E": "", "F": [["x", "{output}/y"]]}}
    words = ["A", "[1, 'b']", "C.D", "True", "E", "", "F", f"[['x', '{tmp_path}/y']]"]
    assert tool.settings_of(row, tmp_path) == words
    assert tool.settings_of({"opts": words}, tmp_path) == words
    assert tool.settings_of({}, tmp_path) == []


def test_a_dry_run_prints_the_commands_and_runs_nothing(tool, calls, tmp_path, capsys) -> None:
    assert run(tool, tmp_path, TABLE, "--dry-run", "--only", "A net", "A net again") == 0
    out = tmp_path / "out"
    assert not calls and not out.exists()
    first, command, second, again = capsys.readouterr().out.splitlines()
    assert (first, second) == ("# A net", "# A net again")
    assert shlex.split(command) == [
        *("occ-order", "train", "--config-file", "a.yaml", "X", f"{out}/start.pth"),
        *("SEED", "4", "OUTPUT_DIR", f"{out}/a_net"),
    ]
    assert shlex.split(again) == [
        *("occ-order", "eval", "--config-file", "c.yaml", "SEED", "4"),
        *("MODEL.WEIGHTS", f"{out}/a_net/model_final.pth", "OUTPUT_DIR", f"{out}/a_net_again"),
    ]


def test_weights_of_two_rows_are_joined_seed_by_seed(tool, calls, tmp_path, monkeypatch) -> None:
    torch = pytest.importorskip("torch")
    train_net = tool.train_net

    def with_weights(row, folder, *more):
        train_net(row, folder, *more)
        if tool.trained(row):
            weights = {row["name"]: torch.full((1,), float(more[1]))}
            torch.save({"model": weights}, folder / "model_final.pth")

    monkeypatch.setattr(tool, "train_net", with_weights)
    text = """
minutes: 1
seeds: [4, 7]
rows:
  - {name: outlines, config: a.yaml, iterations: 5}
  - {name: image, config: b.yaml, iterations: 5}
  - {name: both, config: c.yaml, weights_from: [outlines, image]}
columns: {score: task/metric}
"""
    assert run(tool, tmp_path, text) == 0
    for folder, seed in (("both", 4), ("both_seed_7", 7)):
        file = tmp_path / "out" / folder / "joined.pth"
        assert calls[folder] == ["SEED", str(seed), "MODEL.WEIGHTS", str(file)]
        found = torch.load(file, weights_only=True)["model"]
        assert {name: value.item() for name, value in found.items()} == {
            "outlines": seed,
            "image": seed,
        }
