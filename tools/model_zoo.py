#!/usr/bin/env python
r"""Add a trained model to the zoo, check the zoo, or write MODEL_ZOO.md from it.

    python tools/model_zoo.py add --name NAME --config InstaOrder/x.yaml --run OUTPUT_DIR \
        --scene-seed 1 --data "python datasets/make_scenes.py ..." --command "python tools/..."
    python tools/model_zoo.py write          # MODEL_ZOO.md
    python tools/model_zoo.py check NAME     # evaluates it again and compares

`add` takes `model_final.pth` and `training_time.json` out of the folder of a training run, shrinks
the weights to float16, evaluates what it has written on the config's data and keeps those scores:
the row says what the shipped file does, not what the training run said.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from occ_order import model_zoo  # noqa: E402
from occ_order.config import load_cfg  # noqa: E402
from occ_order.engine.trainer import Trainer  # noqa: E402
from occ_order.model_zoo.zoo import HERE, ZOO  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "MODEL_ZOO.md"
TOLERANCE = 0.05  # percent points that the same weights may differ by on another machine


def flat(results: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """{"task/metric": value} of an evaluator's nested scores, without those that are undefined."""
    found = {}
    for key, value in results.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}/"))
        elif math.isfinite(value):
            found[prefix + key] = round(float(value), 4)
    return found


def evaluate(config: Path, weights: Path) -> dict[str, float]:
    """Scores of a checkpoint on the test data of a config."""
    with tempfile.TemporaryDirectory() as folder:
        opts = ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu", "OUTPUT_DIR", folder]
        cfg = load_cfg(config, opts)
        return flat(Trainer.test(cfg, model_zoo.build(cfg)))


def add(options: argparse.Namespace) -> None:
    """Shrinks, evaluates and lists a model; a row of the same name is replaced."""
    run = Path(options.run)
    weights = torch.load(run / "model_final.pth", map_location="cpu", weights_only=True)["model"]
    file = HERE / "checkpoints" / f"{options.name}.pth"
    file.parent.mkdir(exist_ok=True)
    digest = model_zoo.save_checkpoint(weights, file)
    time = json.loads((run / "training_time.json").read_text(encoding="utf-8"))
    entry = {
        "name": options.name,
        "config": options.config,
        "checkpoint": file.name,
        "sha256": digest,
        "dataset": options.data,
        "scene_seed": options.scene_seed,
        "train_minutes": round(time["cpu_seconds"] / 60, 1),
        "device": options.device,
        "command": options.command,
        "metrics": evaluate(ROOT / "configs" / options.config, file),
    }
    listed = [row for row in model_zoo.rows() if row["name"] != options.name]
    listed = sorted([*listed, entry], key=lambda row: row["name"])
    ZOO.write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(entry, indent=2))


def check(options: argparse.Namespace) -> None:
    """Evaluates models again.

    Raises:
        ValueError: a score differs from the row's by more than TOLERANCE.
    """
    for name in options.names or model_zoo.names():
        expected = model_zoo.row(name)["metrics"]
        found = evaluate(model_zoo.config_file(name), model_zoo.checkpoint_file(name))
        for key in sorted({*expected, *found}):
            a, b = expected.get(key, math.nan), found.get(key, math.nan)
            if not abs(a - b) <= TOLERANCE:
                raise ValueError(f"{name}: {key}: zoo.json says {a}, this run says {b}")
        print(f"{name}: {len(found)} scores as listed")


def document(rows: list[dict[str, Any]]) -> str:
    """The text of MODEL_ZOO.md."""
    text = (Path(__file__).parent / "model_zoo_head.txt").read_text(encoding="utf-8")
    for row in rows:
        size = (HERE / "checkpoints" / row["checkpoint"]).stat().st_size / 1e6
        scores = "\n".join(f"| {key} | {value:g} |" for key, value in row["metrics"].items())
        text += f"""
## {row["name"]}

* settings: [configs/{row["config"]}](configs/{row["config"]})
* weights: `{row["checkpoint"]}`, {size:.1f} MB, sha256 `{row["sha256"]}`
* training: {row["train_minutes"]:g} CPU minutes, {row["device"]}
* seeds: {row["scene_seed"]} of the scenes, `SEED` in the settings of the training

```bash
{row["dataset"]}
{row["command"]}
```

| score | value |
|---|---|
{scores}
"""
    tail = (Path(__file__).parent / "model_zoo_tail.txt").read_text(encoding="utf-8")
    return text + "\n" + tail


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="what", required=True)
    new = commands.add_parser("add", help="add a model")
    new.add_argument("--name", required=True)
    new.add_argument("--config", required=True, help="below configs/")
    new.add_argument("--run", required=True, help="folder of the training run")
    new.add_argument("--data", required=True, help="command that made the data")
    new.add_argument("--scene-seed", type=int, required=True)
    new.add_argument("--command", required=True, help="command that trained it")
    new.add_argument("--device", default="one thread of a CPU")
    again = commands.add_parser("check", help="evaluate again")
    again.add_argument("names", nargs="*")
    commands.add_parser("write", help="write MODEL_ZOO.md")
    options = parser.parse_args(arguments)
    try:
        if options.what == "add":
            add(options)
        elif options.what == "check":
            check(options)
        else:
            DOCUMENT.write_text(document(model_zoo.rows()), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"model_zoo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
