"""`occ-order bench table`: train several models for the same time and print a table of scores."""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from occ_order.config.files import WANDB, ZOO, read_yaml
from occ_order.files import read_json, show, write_text
from occ_order.formats.checks import Report, field

TRIAL = 30  # iterations of the run that measures the training speed
TRAINING = "training"  # task of a column whose metric is a number of training_time.json
ROW_KEYS = {"name", "config", "opts", "train", "weights_from", "iterations", "minutes", "seeds"}


def read_table(path: Path) -> dict[str, Any]:
    """Read and check the description of a table.

    Raises:
        ValueError: a missing or unknown key, a value of another type, a duplicate name, a reference
            to an unknown row, or settings that only the command line may have.
    """
    table = read_yaml(path)
    missing = {"rows", "columns"} - set(table)
    if missing:
        raise ValueError(f"{path}: no {sorted(missing)}")
    report = Report(path)
    with report.at():
        rows, columns = field(table, "rows", "a list"), field(table, "columns", "an object")
        for name, key in columns.items():
            field({f"column {name}": key}, f"column {name}", "a string")
    for number, row in enumerate(rows):
        with report.at(f"row {number}"):
            if not isinstance(row, dict):
                raise ValueError(f"must be an object, got {show(row)}")
            for key in ("name", "config"):
                field({key: "", **row}, key, "a string")
    for seeds in [row.get("seeds", [None]) for row in [table, *table["rows"]]]:
        if not isinstance(seeds, list) or not 0 < len(set(seeds)) == len(seeds):
            raise ValueError(f"{path}: seeds must be a list of different integers, got {seeds}")
    names = [row.get("name") for row in table["rows"]]
    if len(set(names)) != len(names):
        raise ValueError(f"{path}: names must differ, got {names}")
    for row in table["rows"]:
        wrong = set(row) - ROW_KEYS
        if wrong or "config" not in row or set(sources_of(row)) - set(names):
            raise ValueError(f"{path}: row {row}: needs name and config, may have {ROW_KEYS}")
        if not isinstance(row.get("opts", {}), dict | list):
            raise ValueError(
                f"{path}: row {row['name']!r}: opts must map keys to values, got {row['opts']!r}"
            )
        with report.at(f"row {row['name']!r}"):
            _check_settings(settings_of(row, Path()))
    return table


def _check_settings(words: list[str]) -> None:
    """Reject settings with which a file of others could do more than a config file.

    The settings of a row become arguments of `occ-order train`, where they could switch on
    `--allow-unsafe-pickle`, name an address, or send data to Weights & Biases.

    Raises:
        ValueError: names the setting.
    """
    for key in words[::2]:
        if key.startswith("-") or key == WANDB:
            raise ValueError(f"opts: {key} may only be set on the command line")
    for key, value in zip(words[::2], words[1::2], strict=False):
        if "://" in value.replace(ZOO, ""):
            raise ValueError(f"opts: {key}: only files and {ZOO} URLs may be used, got {value!r}")


def trained(row: dict[str, Any]) -> bool:
    """Return whether a row is trained, and not just evaluated (as is or with others' weights)."""
    return row.get("train", True) and "weights_from" not in row


def sources_of(row: dict[str, Any]) -> list[str]:
    """Return the names of the rows whose (joined) weights a row is evaluated with."""
    sources = row.get("weights_from", [])
    return [sources] if isinstance(sources, str) else sources


def seeds_of(row: dict[str, Any], table: dict[str, Any]) -> list[int | None]:
    """Return the seeds of a row; [None] = one run, with the seed of its configuration."""
    return row.get("seeds", table.get("seeds", [None]))


def run_names(row: dict[str, Any], table: dict[str, Any]) -> dict[int | None, str]:
    """Return seed -> name of the run; the run of the first seed has the name of the row."""
    first, *others = seeds_of(row, table)
    return {first: row["name"], **{seed: f"{row['name']} seed {seed}" for seed in others}}


def folder_of(output: Path, name: str) -> Path:
    """Return the folder of a run."""
    return output / re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()


def settings_of(row: dict[str, Any], output: Path) -> list[str]:
    """Return a row's settings as a list [KEY, VALUE, KEY, VALUE, ...], as `load_cfg` takes them.

    Args:
        row: its "opts" is a dict of keys and values, or already such a list.
        output: folder that replaces "{output}".
    """
    opts = row.get("opts", {})
    words = itertools.chain(*opts.items()) if isinstance(opts, dict) else opts
    return [str(word).replace("{output}", str(output)) for word in words]


def arguments_of(row: dict[str, Any], folder: Path, *more: str) -> list[str]:
    """Return the arguments of `occ-order` that train or evaluate a row into `folder`."""
    verb = "train" if trained(row) else "eval"
    opts = [*settings_of(row, folder.parent), *more, "OUTPUT_DIR", str(folder)]
    return [verb, "--config-file", row["config"], *opts]


def train_net(row: dict[str, Any], folder: Path, *more: str) -> None:
    """Train or evaluate a row in a process with one thread; the log is `folder`/output.txt.

    Raises:
        RuntimeError: the process failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "occ_order", *arguments_of(row, folder, *more)]
    log = folder / "output.txt"
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(
            command,
            stdout=out,
            stderr=out,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"row {row['name']!r} failed: see {log}")


def iterations_for(row: dict[str, Any], table: dict[str, Any], output: Path) -> int | None:
    """Return the number of training iterations of a row; None = as in its configuration.

    This is the row's "iterations", or else the number that fits in the "minutes" of CPU time of the
    row or the table, measured by a short trial run.
    """
    minutes = row.get("minutes", table.get("minutes"))
    if "iterations" in row or minutes is None:
        return row.get("iterations")
    folder = folder_of(output, row["name"] + " trial")
    trial = ["SOLVER.MAX_ITER", str(TRIAL), "DATASETS.TEST", "[]", "TEST.EXPECTED_RESULTS", "[]"]
    train_net(row, folder, *trial)
    measured = training_time(folder)
    shutil.rmtree(folder)
    return max(1, round(60 * minutes * measured["iterations"] / measured["cpu_seconds"]))


def training_time(folder: Path) -> dict[str, float]:
    """Read what the trainer wrote of a run: its time, its loss at both ends, "parameters"."""
    return read_json(folder / "training_time.json")


def run_row(row: dict[str, Any], table: dict[str, Any], output: Path) -> None:
    """Train and evaluate a row with each of its seeds; skip runs that already have scores."""
    count = None
    for seed, name in run_names(row, table).items():
        folder = folder_of(output, name)
        if (folder / "inference" / "scores.json").is_file():
            if trained(row):
                count = training_time(folder)["iterations"]
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        opts = [] if seed is None else ["SEED", str(seed)]
        if trained(row):
            count = iterations_for(row, table, output) if count is None else count
            opts += [] if count is None else ["SOLVER.MAX_ITER", str(count)]
        elif "weights_from" in row:
            opts += ["MODEL.WEIGHTS", str(weights_for(row, seed, table, output))]
        train_net(row, folder, *opts)


def command_of(row: dict[str, Any], table: dict[str, Any], output: Path) -> str:
    """Return the command line of a row's first run, regardless of "minutes"."""
    seed, name = next(iter(run_names(row, table).items()))
    opts = [] if seed is None else ["SEED", str(seed)]
    if trained(row):
        opts += ["SOLVER.MAX_ITER", str(row["iterations"])] if "iterations" in row else []
    elif "weights_from" in row:
        files = weight_files(row, seed, table, output)
        opts += ["MODEL.WEIGHTS", str(files[0] if len(files) == 1 else joined_file(name, output))]
    return shlex.join(["occ-order", *arguments_of(row, folder_of(output, name), *opts)])


def weights_for(row: dict[str, Any], seed: int | None, table: dict[str, Any], output: Path) -> Path:
    """Return the checkpoint a row is evaluated with: another row's, or several rows' joined."""
    files = weight_files(row, seed, table, output)
    if len(files) == 1:
        return files[0]
    from occ_order.commands.weights import join_files  # needs PyTorch

    joined = joined_file(run_names(row, table)[seed], output)
    joined.parent.mkdir(parents=True, exist_ok=True)
    join_files(files, joined)
    return joined


def weight_files(
    row: dict[str, Any], seed: int | None, table: dict[str, Any], output: Path
) -> list[Path]:
    """Return the checkpoints of the source rows of a row, with the same seed if available."""
    files = []
    for name in sources_of(row):
        source = next(other for other in table["rows"] if other["name"] == name)
        chosen = run_names(source, table).get(seed, name)
        files.append(folder_of(output, chosen) / "model_final.pth")
    return files


def joined_file(name: str, output: Path) -> Path:
    """Return the path of the joined weights of a run."""
    return folder_of(output, name) / "joined.pth"


def score_of(scores: dict[str, Any], key: str) -> float | None:
    """Return the score of "task/metric" or "data set/task/metric"; None if absent."""
    *parents, metric = key.split("/")
    for name in parents:
        scores = scores.get(name, {})
    return scores.get(metric)


def spread(values: list[float]) -> str:
    """Format the mean and, for several values, the sample standard deviation."""
    if not values:
        return "-"
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2f}"


def cells_of(row: dict[str, Any], table: dict[str, Any], output: Path) -> list[str]:
    """Return the cells of a row as text: name, scores, CPU minutes, iterations."""
    folders = [folder_of(output, name) for name in run_names(row, table).values()]
    files = {folder: folder / "inference" / "scores.json" for folder in folders}
    done = [folder for folder in folders if files[folder].is_file()]
    scores = [
        read_json(files[folder]) | ({TRAINING: training_time(folder)} if trained(row) else {})
        for folder in done
    ]
    cells = [row["name"]]
    for key in table["columns"].values():
        values = [score_of(run, key) for run in scores]
        cells.append(spread([value for value in values if value is not None]))
    if not trained(row) or not done:
        return [*cells, "-", "-"]
    times = [training_time(folder) for folder in done]
    minutes = statistics.fmean(time["cpu_seconds"] for time in times) / 60
    return [*cells, f"{minutes:.1f}", "/".join(sorted({str(time["iterations"]) for time in times}))]


def markdown(table: dict[str, Any], output: Path) -> str:
    """Return the table of all rows in Markdown."""
    head = ["", *table["columns"], "CPU min", "iterations"]
    lines = [head, ["---"] * len(head)]
    lines += [cells_of(row, table, output) for row in table["rows"]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def run(options: argparse.Namespace) -> int:
    """Run the rows without scores and print the table; return the exit status."""
    table = read_table(options.table)
    if options.minutes is not None:
        table["minutes"] = options.minutes
    unknown = set(options.only or []) - {row["name"] for row in table["rows"]}
    if unknown:
        raise ValueError(f"{options.table}: no rows {sorted(unknown)}")
    chosen = [row for row in table["rows"] if options.only is None or row["name"] in options.only]
    if options.dry_run:
        for row in chosen:
            print(f"# {row['name']}\n{command_of(row, table, options.output)}")
        return 0
    try:
        for row in chosen:
            run_row(row, table, options.output)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    text = markdown(table, options.output)
    write_text(options.output / "table.md", text)
    print(text)
    return 0
