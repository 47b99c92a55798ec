"""One ONNX file by ONNX Runtime, and the settings that stand in its metadata."""

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
    """Return ONNX Runtime, which some versions let report their use, with that switched off.

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
    """Return OMP_NUM_THREADS, which PyTorch heeds by itself; 0 where it is not set."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


class Graph:
    """The tensor operations of a network.

    Args:
        path: an ONNX file that `occ_order.engine.export` wrote.
        threads: of ONNX Runtime; 0 = OMP_NUM_THREADS, or as many as there are cores.

    Raises:
        ImportError: ONNX Runtime is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int = 0) -> None:
        onnxruntime = runtime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or _threads_of_environment()
        options.log_severity_level = 3
        self.name = os.fspath(path)
        self._session = onnxruntime.InferenceSession(
            self.name, options, providers=["CPUExecutionProvider"]
        )
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def run(self, outputs: Sequence[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs that are named, for inputs by their names."""
        return self._session.run(list(outputs), dict(given))

    def settings(self, kind: type[Settings], key: str, does: str) -> Settings:
        """Return the settings that the file was written with.

        Args:
            kind: a data class; JSON's lists become tuples.
            key: of the metadata, where `metadata_of` put them.
            does: what such a graph does, for the error.

        Raises:
            ValueError: the graph is none of these; names the file.
        """
        try:
            values = json.loads(self.metadata[key])
            return kind(**{name: _tuples(value) for name, value in values.items()})
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.name}: not a graph that {does} ({error})") from error


def metadata_of(settings: Any, key: str) -> dict[str, str]:
    """Return a data class as the metadata of a graph hold it."""
    return {key: json.dumps(dataclasses.asdict(settings))}


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
