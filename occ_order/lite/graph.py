"""ONNX files in ONNX Runtime, and the settings in their metadata."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

Settings = TypeVar("Settings")


def runtime() -> ModuleType:
    """Import ONNX Runtime and disable its telemetry, which some versions have.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('this needs ONNX Runtime: pip install "occ_order[lite]"') from error
    onnxruntime.disable_telemetry_events()
    return onnxruntime


def _threads_of_environment() -> int:
    """Return OMP_NUM_THREADS, which PyTorch uses by default; 0 if it is not set."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


class Graph:
    """An exported network.

    Args:
        path: an ONNX file written by `occ_order.engine.export`.
        threads: threads of ONNX Runtime; 0 = OMP_NUM_THREADS, or the number of cores.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0) -> None:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads_of_environment()
        options.log_severity_level = 3
        options.enable_mem_pattern = False  # a plan for each shape, and photographs differ in shape
        self.name = os.fspath(path)
        self._session = onnxruntime.InferenceSession(
            self.name, options, providers=["CPUExecutionProvider"]
        )
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, outputs: Sequence[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Compute the named outputs for inputs by name."""
        return self._session.run(list(outputs), dict(given))

    def settings(self, kind: type[Settings], key: str, does: str) -> Settings:
        """Return the settings in the metadata of the file.

        Args:
            kind: a dataclass; lists in JSON become tuples.
            key: key of the metadata, as for `metadata_of`.
            does: purpose of such graphs, for the error message.

        Raises:
            ValueError: the graph has no such settings; names the file.
        """
        try:
            values = json.loads(self.metadata[key])
            return kind(**{name: _tuples(value) for name, value in values.items()})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.name}: not a graph that {does} ({error})") from error


def metadata_of(settings: Any, key: str) -> dict[str, str]:
    """Return a dataclass as metadata of a graph."""
    return {key: json.dumps(dataclasses.asdict(settings))}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
