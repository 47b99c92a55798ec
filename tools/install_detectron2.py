#!/usr/bin/env python3
"""Install Detectron2 from the Python package index, without a compiler.

Detectron2 has no release there. The wheel of the package ``labgym`` contains its pure-Python files,
unchanged except for absolute imports (``LabGym.detectron2`` instead of ``detectron2``). This
script downloads that wheel with pip by its hash without installing it, extracts these files,
reverts the renaming, verifies that every byte equals upstream's commit ``864913f0`` (Apache-2.0),
applies the few changes that current libraries need, and installs the result as ``detectron2
0.6+pypi``.

If ``import detectron2`` works already, nothing is changed, so that a Detectron2 built from source
(with its compiled operators ``detectron2._C``) is kept.

    python tools/install_detectron2.py                        # download, check, repack, install
    python tools/install_detectron2.py --wheel-dir wheels     # only write the wheel
    python tools/install_detectron2.py --from-wheel labgym-3.1.2-py3-none-any.whl
    python tools/install_detectron2.py --force                # replace an installed version

Uses only the standard library, since it runs before anything else is installed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Tree = dict[str, bytes]
"""Path inside the wheel (forward slashes) -> content of the file."""

UPSTREAM_COMMIT = "864913f0e57e87a75c8cc0c7d79ecbd774fc669b"
UPSTREAM_URL = "https://github.com/facebookresearch/detectron2"
TREE_DIGEST = "18313bf302bd320d2db2b7f59d89bd012e9b52edcff94a411237c5e01b9d43e0"
VERSION = "0.6+pypi"
WHEEL_NAME = f"detectron2-{VERSION}-py3-none-any.whl"
DIST_INFO = f"detectron2-{VERSION}.dist-info"

CARRIER = "labgym"
CARRIER_PREFIX = "LabGym/"
PINS = (
    ("3.1.2", "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"),
    ("3.0.1", "3bf69071b2a04703cb2de5fcc5f4db160e6a17a56191ced8e7d302f0f6b23409"),
    ("2.9.6", "a13468af525cad2ce9965678b0095ba8a38652dc2e9cdf3ae6c25601e11229ac"),
)
"""Releases of the carrier package, newest first; all three contain the same Detectron2 files."""

REQUIREMENTS = (
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.2",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
    "black",
    "packaging",
)
"""Upstream's requirements; iopath is allowed up to the version for current Python versions."""


class InstallError(Exception):
    """Error for the user; printed without a traceback."""


@dataclass(frozen=True)
class Patch:
    """A compatibility change of one file.

    Attributes:
        path: path of the file in the wheel.
        reason: what was changed and why, in one line; added to the header of the file.
        replacements: pairs (old, new); each old text must occur exactly once.
    """

    path: str
    reason: str
    replacements: tuple[tuple[str, str], ...]


PATCHES = (
    Patch(
        "detectron2/model_zoo/model_zoo.py",
        "importlib.resources replaces pkg_resources, which setuptools 82 removed",
        (
            ("import pkg_resources\n", "import importlib.resources\n"),
            (
                "    cfg_file = pkg_resources.resource_filename(\n"
                '        "detectron2.model_zoo", os.path.join("configs", config_path)\n'
                "    )\n",
                "    cfg_file = os.path.join(\n"
                '        str(importlib.resources.files("detectron2.model_zoo")),\n'
                '        "configs",\n'
                "        config_path,\n"
                "    )\n",
            ),
        ),
    ),
    Patch(
        "detectron2/data/common.py",
        "random.sample gets a sorted list: since Python 3.11 it refuses a set",
        (
            (
                "self._rng.sample(self._fallback_candidates, k=1)",
                "self._rng.sample(sorted(self._fallback_candidates), k=1)",
            ),
        ),
    ),
    Patch(
        "detectron2/layers/mask_ops.py",
        "np.asarray replaces np.array(copy=False), an error since NumPy 2",
        (("mask = np.array(mask, copy=False)", "mask = np.asarray(mask)"),),
    ),
    Patch(
        "detectron2/evaluation/sem_seg_evaluation.py",
        "np.asarray where no copy is asked for: np.array(copy=False) is an error since NumPy 2",
        (
            (
                "array = np.array(Image.open(f), copy=copy, dtype=dtype)",
                "array = (np.array if copy else np.asarray)(Image.open(f), dtype=dtype)",
            ),
        ),
    ),
)


# --- the tree ---------------------------------------------------------------------------------


def read_tree(carrier_wheel: Path) -> Tree:
    """Read Detectron2's files from the wheel of the carrier package.

    Args:
        carrier_wheel: path of a ``labgym`` wheel.

    Returns:
        Path -> content of every file in ``LabGym/detectron2``, without the prefix ``LabGym/`` and
        with the original imports.

    Raises:
        InstallError: the file does not exist, is not a zip archive, or has no such files.
    """
    prefix = CARRIER_PREFIX + "detectron2/"
    try:
        with zipfile.ZipFile(carrier_wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith(prefix) and n[-1] != "/"]
            tree = {n[len(CARRIER_PREFIX) :]: undo_rename(archive.read(n)) for n in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise InstallError(f"{carrier_wheel}: not a readable wheel ({error})") from error
    if not tree:
        raise InstallError(f"{carrier_wheel}: no file below {prefix}")
    return tree


def undo_rename(content: bytes) -> bytes:
    """Revert the renamed absolute imports to upstream's."""
    return content.replace(b"LabGym.detectron2", b"detectron2")


def git_blob_sha1(content: bytes) -> str:
    """Return git's object name of a file with this content (hexadecimal SHA-1 of the blob)."""
    # Only for comparison with a known commit; security relies on the SHA-256 of the tree.
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def tree_digest(tree: Mapping[str, bytes]) -> str:
    """Return a SHA-256 of a file tree.

    Args:
        tree: path -> content.

    Returns:
        Hexadecimal SHA-256 of the lines ``<git blob SHA-1> <path>``, sorted by path, each followed
        by a newline. ``git ls-tree -r`` of the upstream repository lists the same names.
    """
    lines = (f"{git_blob_sha1(tree[path])} {path}\n" for path in sorted(tree))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_digest(tree: Mapping[str, bytes], expected: str = TREE_DIGEST) -> None:
    """Check that a tree equals the expected one byte for byte.

    Raises:
        InstallError: with the actual and expected digest and the number of files.
    """
    found = tree_digest(tree)
    if found != expected:
        raise InstallError(
            f"this is not Detectron2 at upstream commit {UPSTREAM_COMMIT[:8]}: tree digest {found} "
            f"over {len(tree)} files, expected {expected}; nothing was installed"
        )


def apply_patch(content: bytes, patch: Patch) -> bytes:
    """Apply a compatibility change and add a notice to the header of the file.

    Args:
        content: upstream's file.
        patch: the replacements.

    Returns:
        The changed file. The notice of modification (Apache-2.0, section 4 b) follows the first
        line, which is upstream's copyright notice.

    Raises:
        InstallError: a text to replace does not occur exactly once.
    """
    text = content.decode()
    for old, new in patch.replacements:
        count = text.count(old)
        if count != 1:
            raise InstallError(
                f"{patch.path}: the text to patch occurs {count} times, expected 1: {old!r}"
            )
        text = text.replace(old, new)
    first, rest = text.split("\n", 1)
    header = f"# Modified by tools/install_detectron2.py of occ_order: {patch.reason}."
    return f"{first}\n{header}\n{rest}".encode()


def patched_tree(tree: Mapping[str, bytes], patches: Sequence[Patch] = PATCHES) -> Tree:
    """Return a copy of ``tree`` with all patches applied.

    Raises:
        InstallError: a file to patch does not exist, or :func:`apply_patch` fails.
    """
    result = dict(tree)
    for patch in patches:
        if patch.path not in result:
            raise InstallError(f"{patch.path}: file to patch is not in the tree")
        result[patch.path] = apply_patch(result[patch.path], patch)
    return result


# --- the wheel --------------------------------------------------------------------------------


def metadata_text(patches: Sequence[Patch] = PATCHES) -> str:
    """Return METADATA of the wheel: upstream's requirements, origin, and list of modified files."""
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in REQUIREMENTS)
    modified = "".join(f"- {patch.path}: {patch.reason}\n" for patch in patches)
    return (
        "Metadata-Version: 2.1\n"
        "Name: detectron2\n"
        f"Version: {VERSION}\n"
        "Summary: Pure-Python part of Detectron2, repacked for current libraries\n"
        f"Home-page: {UPSTREAM_URL}\n"
        "Author: FAIR\n"
        "License: Apache-2.0\n"
        "License-File: LICENSE\n"
        "Requires-Python: >=3.10\n"
        f"{requires}"
        "Description-Content-Type: text/markdown\n"
        "\n"
        f"Detectron2 at upstream commit {UPSTREAM_COMMIT} ({UPSTREAM_URL}), without its compiled\n"
        "operators (`detectron2._C`). Modified files:\n"
        "\n"
        f"{modified}"
    )


def license_text(apache_license: str) -> str:
    """Return the licence file of the wheel: Apache License with upstream's copyright line."""
    blank = "Copyright [yyyy] [name of copyright owner]"
    if blank not in apache_license:
        raise InstallError("the LICENSE file next to this script is not the Apache License 2.0")
    return apache_license.replace(blank, "Copyright 2019, Facebook, Inc")


def dist_info(apache_license: str, patches: Sequence[Patch] = PATCHES) -> Tree:
    """Return the files of the ``.dist-info`` folder except RECORD."""
    wheel = (
        "Wheel-Version: 1.0\n"
        "Generator: occ_order install_detectron2\n"
        "Root-Is-Purelib: true\n"
        "Tag: py3-none-any\n"
    )
    return {
        f"{DIST_INFO}/METADATA": metadata_text(patches).encode(),
        f"{DIST_INFO}/WHEEL": wheel.encode(),
        f"{DIST_INFO}/top_level.txt": b"detectron2\n",
        f"{DIST_INFO}/licenses/LICENSE": license_text(apache_license).encode(),
    }


def record_text(files: Mapping[str, bytes], record_path: str) -> str:
    """Return RECORD of the wheel: ``path,sha256=<unpadded url-safe base64>,<size>`` per file.

    Args:
        files: all other files of the wheel.
        record_path: path of RECORD itself, listed last without hash and size.
    """

    def line(path: str) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[path]).digest())
        return f"{path},sha256={digest.rstrip(b'=').decode()},{len(files[path])}\n"

    return "".join(map(line, sorted(files))) + f"{record_path},,\n"


def write_wheel(tree: Mapping[str, bytes], info: Mapping[str, bytes], directory: Path) -> Path:
    """Write the wheel reproducibly: the same input results in the same bytes on every machine.

    Args:
        tree: files of the package.
        info: ``.dist-info`` files without RECORD.
        directory: output folder; created if necessary.

    Returns:
        Path of the wheel, which is written atomically.
    """
    files = {**tree, **info}
    record_path = f"{DIST_INFO}/RECORD"
    files[record_path] = record_text(files, record_path).encode()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / WHEEL_NAME
    part = target.with_name(target.name + ".part")
    # Stored, not deflated: compressed bytes differ between zlib versions. dist-info is last.
    with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(files, key=lambda p: (p.startswith(DIST_INFO), p == record_path, p)):
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[path])
    os.replace(part, target)
    return target


def build_wheel(carrier_wheel: Path, directory: Path) -> Path:
    """Build a verified and patched Detectron2 wheel from the wheel of the carrier package.

    Raises:
        InstallError: see :func:`read_tree`, :func:`check_digest` and :func:`patched_tree`.
    """
    tree = read_tree(carrier_wheel)
    check_digest(tree)
    license_file = Path(__file__).resolve().parent.parent / "LICENSE"
    try:
        apache_license = license_file.read_text(encoding="utf-8")
    except OSError as error:
        raise InstallError(f"{license_file}: {error.strerror}; the wheel must carry it") from error
    return write_wheel(patched_tree(tree), dist_info(apache_license), directory)


# --- pip --------------------------------------------------------------------------------------


def pip(*arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run this interpreter's pip; with ``quiet`` its output is captured."""
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(
        command, check=False, capture_output=quiet, text=True, stdin=subprocess.DEVNULL
    )


def why_pip_failed(output: str) -> str:
    """Return the reason of a failure from pip's output, in one line."""
    lower = output.lower()
    if "do not match the hashes" in lower:
        return "hash mismatch: the file offered is not the pinned one"
    if "no module named pip" in lower:
        return f"{sys.executable} has no pip"
    if "connection" in lower or "name resolution" in lower or "max retries" in lower:
        return "no network, or the package index cannot be reached"
    errors = [line for line in output.splitlines() if line.startswith("ERROR")]
    return (errors or output.strip().splitlines() or ["no output"])[-1]


def download(directory: Path, pins: Sequence[tuple[str, str]] = PINS) -> Path:
    """Download the wheel of the carrier package with pip, verified by hash, without installing it.

    Args:
        directory: an existing empty folder.
        pins: (version, SHA-256 in hexadecimal), tried in order.

    Raises:
        InstallError: all downloads failed; with the reason for each.
    """
    failures = []
    for version, sha256 in pins:
        requirement = directory / "requirement.txt"
        requirement.write_text(f"{CARRIER}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
        done = pip(
            "download",
            "--no-deps",
            "--only-binary=:all:",
            # The carrier package requires an older Python, but only its files are used.
            "--ignore-requires-python",
            "--require-hashes",
            "--disable-pip-version-check",
            "--retries=2",
            f"--dest={directory}",
            f"--requirement={requirement}",
            quiet=True,
        )
        wheels = sorted(directory.glob("*.whl"))
        if done.returncode == 0 and len(wheels) == 1:
            return wheels[0]
        failures.append(f"  {CARRIER} {version}: {why_pip_failed(done.stdout + done.stderr)}")
    raise InstallError(
        "pip could not download the wheel that carries Detectron2:\n"
        + "\n".join(failures)
        + "\nDownload one of these releases elsewhere and pass it with --from-wheel FILE."
    )


def install(wheel: Path, *, force: bool) -> None:
    """Install the wheel and its requirements into this interpreter.

    Raises:
        InstallError: pip failed, or Detectron2 does not import afterwards.
    """
    # pip keeps an installed package of the same version unless forced.
    steps = [["--force-reinstall", "--no-deps"], []] if force else [[]]
    for options in steps:
        done = pip("install", "--disable-pip-version-check", *options, str(wheel))
        if done.returncode != 0:
            raise InstallError("pip could not install Detectron2; its message is above")
    state, detail = installed_state()
    if state != "works":
        raise InstallError(f"Detectron2 was installed but does not import: {detail}")


def installed_state() -> tuple[str, str]:
    """Check Detectron2 in this interpreter, in a separate process.

    Returns:
        ``("absent", "")``, ``("works", "<version> at <folder>")`` or ``("broken", "<error>")``.
    """
    code = (
        "import importlib.util, sys\n"
        "if importlib.util.find_spec('detectron2') is None: sys.exit(3)\n"
        "import detectron2\n"
        "print(detectron2.__version__, 'at', list(detectron2.__path__)[0])\n"
    )
    # In an empty folder, so that a folder of that name in the working directory is not imported.
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, text=True, cwd=empty
        )
    if done.returncode == 3:
        return "absent", ""
    if done.returncode == 0:
        return "works", done.stdout.strip()
    return "broken", (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


# --- command line -----------------------------------------------------------------------------


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--wheel-dir", type=Path, metavar="DIR", help="only write the wheel to DIR")
    parser.add_argument("--force", action="store_true", help="replace a working installation")
    parser.add_argument(
        "--from-wheel", type=Path, metavar="FILE", help=f"a {CARRIER} wheel already downloaded"
    )
    parser.add_argument(
        "--requirements", action="store_true", help="only print Detectron2's requirements"
    )
    return parser.parse_args(argv)


def nothing_to_do(force: bool) -> bool:
    """Return whether a working Detectron2 is installed and may be kept.

    Raises:
        InstallError: PyTorch is not installed, or an installed Detectron2 cannot be imported.
    """
    if importlib.util.find_spec("torch") is None:
        raise InstallError("Detectron2 needs PyTorch; first: pip install torch torchvision")
    if force:
        return False
    state, detail = installed_state()
    if state == "broken":
        raise InstallError(
            f"a Detectron2 is installed but does not import: {detail}\n"
            "Repair it, or replace it with --force."
        )
    if state == "works":
        print(f"Detectron2 {detail} is already installed and works; nothing to do.")
    return state == "works"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit status: 0 = success or nothing to do, 1 = failure (the reason is on standard error).
    """
    args = parse_args(argv)
    if args.requirements:
        print("\n".join(REQUIREMENTS))
        return 0
    try:
        if args.wheel_dir is None and nothing_to_do(args.force):
            return 0
        with tempfile.TemporaryDirectory() as folder:
            carrier = args.from_wheel or download(Path(folder))
            wheel = build_wheel(carrier, args.wheel_dir or Path(folder, "out"))
            if args.wheel_dir is not None:
                print(wheel)
            else:
                install(wheel, force=args.force)
    except InstallError as error:
        print(f"install_detectron2: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
