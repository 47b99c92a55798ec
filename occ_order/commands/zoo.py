"""`occ-order zoo add`, `check`, `graph` and `write`: maintain the model zoo."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from occ_order import model_zoo
from occ_order.config import load_cfg
from occ_order.engine import export as networks
from occ_order.engine.checkpoint import read_checkpoint
from occ_order.engine.trainer import Trainer
from occ_order.files import read_json, read_text, sha256_of, write_json, write_text
from occ_order.model_zoo.zoo import HERE, ZOO

TOLERANCE = 0.05  # allowed difference of scores between machines, in percentage points


def flat(results: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Flatten nested scores to {"task/metric": value}, without undefined (NaN) ones."""
    found = {}
    for key, value in results.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}/"))
        elif math.isfinite(value):
            found[prefix + key] = round(float(value), 4)
    return found


def evaluate(config: Path, weights: Path) -> dict[str, float]:
    """Compute the scores of a checkpoint on the test data of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        opts = ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu", "OUTPUT_DIR", folder]
        cfg = load_cfg(config, opts)
        return flat(Trainer.test(cfg, model_zoo.build(cfg)))


def save_graph(name: str, config: Path, weights: Path) -> dict[str, str]:
    """Write the ONNX file of a model, if `occ_order.lite` can run it.

    Returns:
        The entries "graph" and "graph_sha256" of the model's row; empty for other models.
    """
    cfg = load_cfg(config, ["MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu"])
    model = model_zoo.build(cfg)
    if type(model) not in networks.LITE:
        return {}
    path = HERE / "checkpoints" / f"{name}.onnx"
    networks.save_onnx(networks.graph_of(model, cfg=cfg), path, half=True)
    return {
        "graph": path.name,
        "graph_sha256": sha256_of(path),
    }


def words_for_people(options: argparse.Namespace) -> dict[str, Any]:
    """Return the descriptions of a model from the command line, or else from its existing row."""
    before = {row["name"]: row for row in model_zoo.rows()}.get(options.name, {})
    found = {}
    for key in ("trained_on", "expect", "score_threshold"):
        said = getattr(options, key)
        value = before.get(key) if said is None else said
        if value is not None:
            found[key] = value
    return found


def add(options: argparse.Namespace) -> None:
    """Convert to float16, evaluate and list a model; descriptions of an existing row are kept."""
    run = Path(options.run)
    weights = read_checkpoint(run / "model_final.pth")["model"]
    file = HERE / "checkpoints" / f"{options.name}.pth"
    file.parent.mkdir(exist_ok=True)
    digest = model_zoo.save_checkpoint(weights, file)
    time = read_json(run / "training_time.json")
    entry: dict[str, Any] = {
        "name": options.name,
        "config": options.config,
        "checkpoint": file.name,
        "sha256": digest,
        "dataset": options.data,
        "scene_seed": options.scene_seed,
        "train_minutes": round(time["cpu_seconds"] / 60, 1),
        "device": options.device,
        "command": options.command,
        **save_graph(options.name, model_zoo.settings_file(options.config), file),
        **words_for_people(options),
        "metrics": evaluate(model_zoo.settings_file(options.config), file),
    }
    listed = [row for row in model_zoo.rows() if row["name"] != options.name]
    save_rows([*listed, entry])
    print(json.dumps(entry, indent=2))


def save_rows(rows: list[dict[str, Any]]) -> None:
    """Write the list of models, sorted by name."""
    write_json(ZOO, sorted(rows, key=lambda row: row["name"]), indent=2)


def graph(options: argparse.Namespace) -> None:
    """Write the ONNX files of listed models, and their hashes to the list.

    Raises:
        ValueError: a model cannot run without PyTorch.
    """
    for name in options.names:
        made = save_graph(name, model_zoo.config_file(name), model_zoo.checkpoint_file(name))
        if not made:
            able = ", ".join(kind.__name__ for kind in networks.LITE)
            raise ValueError(f"{name}: only {able} predict without PyTorch")
        save_rows(
            [_with_graph(row, made) if row["name"] == name else row for row in model_zoo.rows()]
        )
        size = (HERE / "checkpoints" / made["graph"]).stat().st_size / 1e6
        print(f"{name}: {made['graph']}, {size:.1f} MB, sha256 {made['graph_sha256']}")


def _with_graph(row: dict[str, Any], made: dict[str, str]) -> dict[str, Any]:
    """Return a row with the entries of its graph, placed before the scores."""
    rest = {key: value for key, value in row.items() if key not in ("metrics", *made)}
    return {**rest, **made, "metrics": row["metrics"]}


def check(options: argparse.Namespace) -> None:
    """Evaluate models again and compare with the listed scores.

    Raises:
        ValueError: a score differs from the listed one by more than TOLERANCE.
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
    """Return the text of MODEL_ZOO.md."""
    text = read_text(Path(__file__).parent / "zoo_head.txt")
    for row in rows:
        size = (HERE / "checkpoints" / row["checkpoint"]).stat().st_size / 1e6
        graph = f"* without PyTorch: `{row['graph']}`\n" if "graph" in row else ""
        scores = "\n".join(f"| {key} | {value:g} |" for key, value in row["metrics"].items())
        text += f"""
## {row["name"]}

* settings: [configs/{row["config"]}](configs/{row["config"]})
* weights: `{row["checkpoint"]}`, {size:.1f} MB, sha256 `{row["sha256"]}`
{graph}* training: {row["train_minutes"]:g} CPU minutes, {row["device"]}
* seeds: {row["scene_seed"]} of the scenes, `SEED` in the settings of the training

```bash
{row["dataset"]}
{row["command"]}
```

| score | value |
|---|---|
{scores}
"""
    tail = read_text(Path(__file__).parent / "zoo_tail.txt")
    return text + "\n" + tail


def run(options: argparse.Namespace) -> int:
    """Run the chosen subcommand; return the exit status."""
    if options.what == "add":
        add(options)
    elif options.what == "check":
        check(options)
    elif options.what == "graph":
        graph(options)
    else:
        write_text(options.output, document(model_zoo.rows()))
    return 0
