"""`occ-order bench int8`: the default order network in 8 bits against 32 bits.

ONNX Runtime's static quantization (QDQ; uint8 activations, weights of 7 bits per channel) of all
convolutions and matrix products, calibrated on annotated photographs. Speed, size and accuracy of
`occ_order.predict` with the input masks of other photographs. ``direction``, ``whdr``: percent of
occluding pairs whose direction is right, and of distinct depth orders that are wrong, in 8 bits and
(``baseline_...``) in 32. ``changed``: pairs whose order differs, percent of all occluding pairs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from detectron2.data import DatasetCatalog

import occ_order.formats.builtin  # noqa: F401  (registers the names)
from occ_order import model_zoo
from occ_order.benchmarks.timing import make_row
from occ_order.files import load_image
from occ_order.instances import OrderedInstances
from occ_order.lite.graph import Graph
from occ_order.lite.mask_order import MaskOrderer
from occ_order.lite.predictor import LitePredictor
from occ_order.masks import decode_all
from occ_order.metrics import GivenMaskScorer

Record = Mapping[str, Any]


class Measured(NamedTuple):
    """Results of one graph."""

    scores: dict[str, float]
    orders: list[np.ndarray]  # int8 (N, N) of each photograph
    seconds: float  # CPU time of all photographs


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the one row.

    Raises:
        SystemExit: a data set that is not registered.
    """
    path = Path(model_zoo.graph_file(model_zoo.ORDERS_MASKS))
    whole = Graph(path, threads=1)
    known = _records(arguments.calibrate, arguments.calibration_images)
    tested = _records(arguments.dataset, arguments.images)
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "int8.onnx"
        quantize(path, small, recorded(whole, known))
        short = Graph(small, threads=1)
        measured(short, tested[:1])  # warm-up
        measured(whole, tested[:1])
        ours, theirs = measured(short, tested), measured(whole, tested)
        size = small.stat().st_size
    yield make_row(
        f"{model_zoo.ORDERS_MASKS}/{len(tested)} photographs",
        ours.seconds / len(tested),
        theirs.seconds / len(tested),
        direction=ours.scores["direction/all"],
        baseline_direction=theirs.scores["direction/all"],
        whdr=ours.scores["depth/whdr_distinct"],
        baseline_whdr=theirs.scores["depth/whdr_distinct"],
        changed=percent_changed(ours.orders, theirs.orders),
        megabytes=size / 1e6,
        baseline_megabytes=path.stat().st_size / 1e6,
    )


def percent_changed(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """Return the pairs whose order differs, in percent of those with an occlusion in `theirs`."""
    changed = occluding = 0
    for a, b in zip(ours, theirs, strict=True):
        changed += np.count_nonzero(np.triu((a != b) | (a != b).T))
        occluding += np.count_nonzero(np.triu((b == 1) | (b == 1).T))
    return 100 * changed / max(occluding, 1)


def recorded(graph: Graph, records: Sequence[Record]) -> list[dict[str, np.ndarray]]:
    """Return the inputs of a graph for photographs with input masks."""
    inputs: list[dict[str, np.ndarray]] = []

    class Recorder(Graph):
        def __init__(self) -> None:
            self.name, self.metadata = graph.name, graph.metadata

        def run(self, outputs: Sequence[str], given: Mapping[str, np.ndarray]) -> list[np.ndarray]:
            inputs.append(dict(given))
            return graph.run(outputs, given)

    orderer = MaskOrderer(Recorder())
    for record in records:
        orderer(load_image(record["file_name"]), _masks(record))
    return inputs


def quantize(source: Path, target: Path, inputs: Sequence[dict[str, np.ndarray]]) -> None:
    """Write a graph in 8 bits, calibrated on `inputs`.

    Raises:
        ImportError: onnx is not installed.
    """
    try:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError as error:
        raise ImportError(f'quantization needs onnx: pip install ".[export]" ({error})') from error

    class Inputs(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._rest = iter(inputs)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._rest, None)

    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(
        prepared,
        target,
        Inputs(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
        # Weights of 7 bits: without VNNI, processors add products of 8 bits in 16, which overflow.
        reduce_range=True,
        op_types_to_quantize=["Conv", "MatMul", "Gemm"],
    )


def measured(graph: Graph, records: Sequence[Record]) -> Measured:
    """Predict the order of input masks of photographs, and score it."""
    predictor, scorer = LitePredictor(MaskOrderer(graph)), GivenMaskScorer()
    orders, seconds = [], 0.0
    for record in records:
        image, masks = load_image(record["file_name"]), _masks(record)
        start = time.process_time()
        result: OrderedInstances = predictor(image, masks)
        seconds += time.process_time() - start
        scorer.update(
            record,
            {
                "occlusion": result.occlusion,
                "occlusion_prob": result.occlusion_prob,
                "depth": result.depth,
            },
        )
        assert result.occlusion is not None  # this model always predicts it
        orders.append(result.occlusion)
    return Measured(scorer.compute(), orders, seconds)


def _records(name: str, most: int) -> list[Record]:
    if name not in DatasetCatalog.list():
        raise SystemExit(f"no data set {name!r}; see datasets/README.md")
    return DatasetCatalog.get(name)[:most]


def _masks(record: Record) -> np.ndarray:
    segmentations = [annotation["segmentation"] for annotation in record["annotations"]]
    return decode_all(segmentations, record["height"], record["width"])
