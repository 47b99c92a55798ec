"""Export of networks as programs of `torch.export` and as ONNX.

Only networks are exported, without pre- and post-processing: images and masks enter at the size of
the network, logits or a disparity map are returned. `Graph.inputs` and `Graph.outputs` describe all
tensors and their dynamic axes; the description is also written to a JSON file.

ONNX is exported by tracing, with PyTorch's older exporter, which PyTorch deprecates. The newer one,
based on `torch.export`, requires another package, cannot export the segmenter
(`Graph.no_program`), and for the others takes many times as long to say the same. A test fails once
PyTorch removes the older one or changes its announcement. Tracing is the only use of `torch.jit`
here, apart from Detectron2, which compiles some of its functions on import.

Not exported are **the CRF of OOSIS** (a sequence of minimum cuts, not a network), and instance
segmentation with several classes (use Detectron2's own export).

Shapes: P pairs, N instances, B images, C channels, H x W pixels.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN
from torch import nn

from occ_order.engine import (
    export_completion,
    export_mask_order,
    export_pairs,
    export_segmenter,
)
from occ_order.engine.export_order_head import DenseOrderHead, at_least_one
from occ_order.files import write_bytes, write_json
from occ_order.lite import completion as lite_completion
from occ_order.lite import mask_order as lite_mask_order
from occ_order.lite import segmenter as lite_segmenter
from occ_order.lite.graph import metadata_of
from occ_order.methods.completion import views
from occ_order.methods.completion.meta_arch import MaskCompletionNet
from occ_order.methods.instadepth.disparity_net import STAGES
from occ_order.methods.instadepth.meta_arch import STRIDE, InstaDepthNet
from occ_order.methods.instaorder.order_net import PairwiseOrderNet
from occ_order.methods.mask_order.meta_arch import MaskOrderNet
from occ_order.methods.order_head.meta_arch import OrderRCNN
from occ_order.methods.segmenter.meta_arch import MirroredRCNN

OPSET = 20
PARTS = ("orders", "disparity")
LARGE = 1024
"""Weights with fewer elements stay float32."""

KEPT = 480
"""Height of `default_size` for models that take images at their own size."""

FREE = "number"
"""Name of a dynamic axis of length 1 or more."""

OVER = "logit: row occludes column (sigmoid)"
CLOSER = "logits: row closer; farther; equal (softmax)"
"""Description of the outputs for all pairs of instances."""

LOGITS = {
    "occlusion": "logits: the second occludes the first; the first the second (sigmoid of each)",
    "depth": "logits: the first is closer; farther; equal (softmax)",
}
"""Description of the outputs for an ordered pair (`occ_order.methods.common.pair_labels`)."""


LITE = (MaskOrderNet, MaskCompletionNet, GeneralizedRCNN, MirroredRCNN)
"""Models supported by `occ_order.lite`."""


@dataclass(frozen=True)
class Tensor:
    """Description of an input or output.

    Attributes:
        name: name in the ONNX graph; also the order of the program's arguments.
        shape: lengths of the axes; a name for a dynamic axis, `FREE` if there is only one.
        meaning: one sentence.
        threshold: of an output with probabilities or logits of them, the probability above which
            the answer is yes; None if there is no such answer.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str
    threshold: float | None = None


@dataclass(frozen=True)
class Graph:
    """A network that maps tensors to a tuple of tensors.

    Attributes:
        module: network in evaluation mode.
        inputs, outputs: descriptions of the tensors.
        metadata: metadata of an ONNX file, by name.
        prepare: creates input for a number of instances, if it cannot be random.
        least: smallest length of the dynamic axis `FREE`.
        no_program: reason why `torch.export` does not support the network; "" if it does.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[int], tuple[torch.Tensor, ...]] | None = None
    no_program: str = ""
    least: int = 1

    def example(self, number: int = 2) -> tuple[torch.Tensor, ...]:
        """Create random input with length `number` of the dynamic axis; masks are rectangles."""
        if self.prepare is not None:
            return self.prepare(number)
        made = []
        for tensor in self.inputs:
            shape = [number if side == FREE else int(side) for side in tensor.shape]
            made.append(_rectangles(shape) if tensor.name == "masks" else torch.rand(shape) * 255)
        return tuple(made)


def graph_of(
    model: nn.Module,
    *,
    size: Sequence[int] = (),
    part: str = "orders",
    cfg: CfgNode | None = None,
) -> Graph:
    """Return the network of a model as a graph.

    Args:
        model: `MaskOrderNet` (preprocessed image and masks to the logits of all pairs),
            `MaskCompletionNet` (views of instances to logits of their cells),
            Detectron2's `GeneralizedRCNN` with masks and one class (image to boxes, scores and
            mask probabilities in boxes), `PairwiseOrderNet` (image and masks to the matrices of
            all pairs), `OrderRCNN` (image and masks to the logits of all pairs, without the
            detector), or `InstaDepthNet` (image and masks of pairs to a disparity map and logits).
        size: height and width of the images if the model does not fix them: multiples of 32.
            Default: `default_size`, which needs `cfg`.
        part: of InstaDepthNet: "orders", or "disparity" for the disparity map of B images.
        cfg: preprocessing of images; required for models of `occ_order.lite` (the first three).

    Raises:
        ValueError: unsupported model, invalid size, or unknown part.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {PARTS}, got {part!r}")
    model = model.eval()
    if type(model) in LITE:  # other subclasses of GeneralizedRCNN are not supported by lite
        if cfg is None:
            raise ValueError(f"a {type(model).__name__} needs its config for export: pass cfg")
        return _lite_graph(model, cfg)
    if isinstance(model, PairwiseOrderNet):
        return _pair_graph(model, cfg.INPUT.FORMAT if cfg is not None else "RGB")
    if isinstance(model, OrderRCNN):
        if not size and cfg is not None:
            size = default_size(cfg)
        return _order_head_graph(model, _checked(size))
    if isinstance(model, InstaDepthNet):
        size = _checked(size or model.input_size)
        return _disparity_graph(model, size) if part == "disparity" else _depth_graph(model, size)
    raise ValueError(
        f"{type(model).__name__} cannot be exported; MaskOrderNet, MaskCompletionNet, "
        "GeneralizedRCNN, PairwiseOrderNet, OrderRCNN and InstaDepthNet can (the CRF of OOSIS is "
        "not a network)"
    )


def _lite_graph(model: nn.Module, cfg: CfgNode) -> Graph:
    if isinstance(model, MaskOrderNet):
        return _mask_order_graph(model, cfg)
    if isinstance(model, MaskCompletionNet):
        return _completion_graph(model, cfg)
    return _segmenter_graph(model, cfg)


def save_program(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a program for `torch.export.load` with a dynamic number of pairs, instances or images.

    Raises:
        ValueError: `torch.export` does not support the network.
    """
    if graph.no_program:
        raise ValueError(f"torch.export does not support it, use ONNX: {graph.no_program}")
    given, shapes = graph.example(3), torch.export.ShapesCollection()
    for tensor, value in zip(graph.inputs, given, strict=True):
        shapes[value] = dict.fromkeys(_free(tensor), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.export.export(graph.module, given, dynamic_shapes=shapes, strict=False)
    made = io.BytesIO()  # PyTorch ends the process where a file cannot be written
    torch.export.save(program, made)
    write_bytes(path, made.getvalue())


def _free(tensor: Tensor) -> dict[int, str]:
    """Return the dynamic axes and their names."""
    return {k: side for k, side in enumerate(tensor.shape) if isinstance(side, str)}


def save_onnx(graph: Graph, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write an ONNX file of opset `OPSET` by tracing.

    Args:
        graph: the network.
        path: the file; includes `graph.metadata`.
        half: store weights as float16; they are cast to float32 when the file is loaded.

    Raises:
        ImportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError('ONNX needs onnx: pip install ".[export]"') from error
    free = {tensor.name: _free(tensor) for tensor in (*graph.inputs, *graph.outputs)}
    traced = io.BytesIO()
    with warnings.catch_warnings():
        # PyTorch warns to use the exporter of torch.export; see the module docstring.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Detectron2 checks shapes in conditions, which tracing warns about.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        # Indices of crops are never negative, which ONNX would not support.
        warnings.filterwarnings("ignore", "Exporting aten::index operator", UserWarning)
        torch.onnx.export(
            graph.module,
            graph.example(3),
            traced,
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            opset_version=OPSET,
            dynamic_axes={name: sides for name, sides in free.items() if sides},
            dynamo=False,
            # Do not fold batch normalisation into weights, which would be rounded to float16.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,  # the runtime folds constants
        )
    made = onnx.load_from_string(traced.getvalue())
    if half:
        _halve(made.graph)
    onnx.helper.set_model_props(made, {**graph.metadata})
    onnx.checker.check_model(made)
    write_bytes(path, made.SerializeToString())


def _halve(graph: Any) -> None:
    """Store large weights of an ONNX graph as float16, with a cast to float32."""
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or math.prod(weight.dims) < LARGE:
            continue
        name = weight.name
        values = numpy_helper.to_array(weight).astype("float16")
        weight.CopyFrom(numpy_helper.from_array(values, f"{name}:half"))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def save_description(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write all that is needed to run the network without this package, as JSON.

    Keys: "inputs" and "outputs" with name, shape, dtype and meaning of each tensor, "number" (the
    dynamic axis), "normalisation" of images, and "thresholds": output -> probability above which
    the answer is yes (`Tensor.threshold`).
    """
    given = graph.example()
    with torch.no_grad():
        made = graph.module(*given)
    sides = {"inputs": (graph.inputs, given), "outputs": (graph.outputs, made)}
    text: dict[str, Any] = {
        key: [
            {
                "name": tensor.name,
                "shape": tensor.shape,
                "meaning": tensor.meaning,
                "dtype": str(value.dtype).removeprefix("torch."),
            }
            for tensor, value in zip(tensors, values, strict=True)
        ]
        for key, (tensors, values) in sides.items()
    }
    text[FREE] = f"any length >= {graph.least}"
    text["normalisation"] = "inside the network: images are 0 .. 255"
    text["thresholds"] = {
        one.name: one.threshold for one in graph.outputs if one.threshold is not None
    }
    write_json(path, text, indent=2)


def default_size(cfg: CfgNode) -> tuple[int, int]:
    """Return height and width, multiples of 32, of a landscape image of 4 : 3 at test time.

    The shorter side is INPUT.MIN_SIZE_TEST, or 480 where images keep their size (0).
    """
    shorter = cfg.INPUT.MIN_SIZE_TEST or KEPT
    height, width = (math.ceil(side / STRIDE) * STRIDE for side in (shorter, shorter * 4 / 3))
    return height, width


def _checked(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or any(side <= 0 or side % STRIDE for side in size):
        raise ValueError(f"size must be height and width in multiples of {STRIDE}, got {[*size]}")
    return int(size[0]), int(size[1])


def _rectangles(shape: Sequence[int]) -> torch.Tensor:
    """Return float32 masks, 1 inside a random rectangle of the last two axes."""
    masks = torch.zeros(shape)
    for mask in masks.flatten(0, -3):
        y, x = (int(torch.randint(0, side // 2, ())) for side in mask.shape)
        mask[y : y + mask.shape[0] // 2, x : x + mask.shape[1] // 2] = 1
    return masks


def _image(number: int | str, size: Sequence[int], channels: str) -> Tensor:
    return Tensor("image", (number, 3, *size), f"0 .. 255, {channels}, resized to this size")


# --- InstaOrderNet


def _pair_graph(model: PairwiseOrderNet, channels: str) -> Graph:
    module = export_pairs.PairGraph(model).eval()
    inputs = [
        Tensor(name, shape, meaning)
        for name, (shape, meaning) in export_pairs.inputs(model, channels).items()
    ]
    heads = model.classifier.heads
    outputs = []
    for name in module.outputs:
        shape = (FREE, FREE, 3) if name == "depth_probability" else (FREE, FREE)
        decided = name == "occlusion_probability" and "occlusion" in heads
        threshold = model.threshold if decided else None
        outputs.append(Tensor(name, shape, export_pairs.OUTPUTS[name], threshold))
    return Graph(
        module,
        tuple(inputs),
        tuple(outputs),
        prepare=lambda number: export_pairs.example(model, number),
        least=0,
    )


# --- order of input masks


def _mask_order_graph(model: MaskOrderNet, cfg: CfgNode) -> Graph:
    settings = export_mask_order.settings_of(model, cfg)
    inputs = [
        Tensor(name, shape, meaning)
        for name, (shape, meaning) in export_mask_order.inputs(settings).items()
    ]
    outputs = (
        Tensor("occlusion", (FREE, FREE), OVER, settings.threshold),
        Tensor("depth", (FREE, FREE, 3), CLOSER),
        Tensor("log_depth", (1, 1, "rows", "columns"), "log depth up to a constant, larger = far"),
    )
    return Graph(
        export_mask_order.MaskOrderGraph(model).eval(),
        tuple(inputs),
        outputs,
        metadata_of(settings, lite_mask_order.SETTINGS),
        lambda number: export_mask_order.example(settings, number),
        "torch.export specialises axes of length 1, and one instance has one pair",
    )


# --- amodal masks of input masks


def _completion_graph(model: MaskCompletionNet, cfg: CfgNode) -> Graph:
    settings = export_completion.settings_of(model, cfg)
    side = settings.size
    shown = "0 .. 1: the instance, possible occluders, other masks, the image, the convex hull"
    return Graph(
        export_completion.CompletionGraph(model.network).eval(),
        (Tensor("views", (FREE, views.CHANNELS, side, side), shown),),
        (Tensor("logits", (FREE, side, side), "amodal mask (sigmoid)", settings.threshold),),
        metadata_of(settings, lite_completion.SETTINGS),
        lambda number: (torch.rand((number, views.CHANNELS, side, side)),),
    )


# --- class-agnostic instances


def _segmenter_graph(model: GeneralizedRCNN, cfg: CfgNode) -> Graph:
    settings = export_segmenter.settings_of(model, cfg)
    sides = f"0 .. 255, {settings.channels}; sides are multiples of {settings.divisibility}"
    inputs = (
        Tensor("image", (1, 3, "height", "width"), sides),
        Tensor("size", (2,), "int64: height and width of the image without padding"),
    )
    outputs = (
        Tensor("boxes", (FREE, 4), "x0, y0, x1, y1 in pixels of the input"),
        Tensor("scores", (FREE,), "0 .. 1, descending"),
        Tensor("masks", (FREE, "rows", "columns"), "probabilities inside the box"),
    )
    return Graph(
        export_segmenter.SegmenterGraph(model).eval(),
        inputs,
        outputs,
        metadata_of(settings, lite_segmenter.SETTINGS),
        lambda _: export_segmenter.example(settings),
        "torch.export does not terminate for lists of boxes of dynamic length",
    )


# --- order head


def _order_head_graph(model: OrderRCNN, size: tuple[int, int]) -> Graph:
    image = _image(1, size, f"channels as INPUT.FORMAT ({model.input_format})")
    masks = Tensor("masks", (FREE, *size), "1 inside an instance, else 0; modal masks")
    outputs = (
        Tensor("occlusion", (FREE, FREE), OVER, model.roi_heads.occlusion_threshold),
        Tensor("depth", (FREE, FREE, 3), CLOSER),
    )
    return Graph(DenseOrderHead(model, size).eval(), (image, masks), outputs, least=0)


# --- InstaDepthNet


class _Disparity(nn.Module):
    def __init__(self, model: InstaDepthNet) -> None:
        super().__init__()
        self.net = model.disparity_net
        self.register_buffer("mean", model.pixel_mean.clone())
        self.register_buffer("std", model.pixel_std.clone())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.net((image - self.mean) / self.std)[0],)


class _Depth(_Disparity):
    def __init__(self, model: InstaDepthNet) -> None:
        super().__init__(model)
        self.heads = model.heads

    def forward(  # type: ignore[override]  # its graph takes masks as well
        self, image: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        disparity, features = self.net((image - self.mean) / self.std)
        # Features of the single image are broadcast to all pairs.
        fed = {name: features[name] for name in STAGES}
        shown, pairs = at_least_one(masks), masks.shape[0]
        return disparity, *(head(shown, fed)[:pairs] for head in self.heads.values())


def _disparity_graph(model: InstaDepthNet, size: tuple[int, int]) -> Graph:
    image = _image(FREE, size, model.input_format)
    disparity = Tensor("disparity", (FREE, *size), "larger = nearer, up to scale")
    return Graph(_Disparity(model).eval(), (image,), (disparity,))


def _depth_graph(model: InstaDepthNet, size: tuple[int, int]) -> Graph:
    image = _image(1, size, model.input_format)
    masks = Tensor("masks", (FREE, 2, *size), "first and second instance of a pair, 1 inside")
    disparity = Tensor("disparity", (1, *size), "larger = nearer, up to scale")
    outputs = [
        Tensor(
            name,
            (FREE, head.predictor.out_features),
            LOGITS[name],
            0.5 if name == "occlusion" else None,  # that of `occlusion_matrices`
        )
        for name, head in model.heads.items()
    ]
    return Graph(_Depth(model).eval(), (image, masks), (disparity, *outputs), least=0)
