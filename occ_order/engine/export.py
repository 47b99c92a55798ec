"""Networks as programs of `torch.export` and as ONNX: what runs without this package.

Exported are networks, not what stands around them: images and masks come in at the size of the
network, logits or a disparity map go out. `Graph.inputs` and `Graph.outputs` say what each tensor
is, and which of its sides is free; the same stands in the JSON file beside the exported one.

ONNX is made from a trace, by PyTorch's older exporter: the graphs that the zoo ships are, and
`occ_order.lite` runs MaskOrderNet's with any number of instances, of which `torch.export` takes two
or more alone (`Graph.no_program`). The newer exporter, over `torch.export`, gave the same answers
within 1e-5 for InstaOrderNet, the order head and InstaDepthNet, but takes another package and forty
times as long (6 s instead of 0.15 s of the processor for a tiny disparity network). The trace is
the only use of `torch.jit` here beside Detectron2's own, which compiles some of its functions when
it is imported.

What has no such form: **the CRF of OOSIS is not exported** (it is a loop of minimum cuts, not a
network), nor is the finding of instances of several classes (Detectron2's own export does that),
nor the cropping of pairs, which is `occ_order.methods.instaorder.inputs.PairInputs`.

Shapes: P pairs, N instances, B images, C channels, H x W pixels.
"""

from __future__ import annotations

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

from occ_order.engine import export_completion, export_mask_order, export_segmenter
from occ_order.engine.export_order_head import DenseOrderHead
from occ_order.files import write_json
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

OPSET = 20
PARTS = ("orders", "disparity")
LARGE = 1024
"""Weights with fewer numbers stay float32."""

FREE = "number"
"""Name of the side of a tensor that may have any length from 1 on."""

LOGITS = {
    "occlusion": "logits: the second occludes the first; the first the second (sigmoid of each)",
    "depth": "logits: the first is closer; farther; equal (softmax)",
    "relation": "logits: second over first; first over second; neither; each other (softmax)",
}
"""Meaning of the answers about an ordered pair (`occ_order.methods.common.pair_labels`)."""


LITE = (MaskOrderNet, MaskCompletionNet, GeneralizedRCNN)
"""Models whose graphs `occ_order.lite` runs."""


@dataclass(frozen=True)
class Tensor:
    """What goes in or comes out.

    Attributes:
        name: in the ONNX graph, and in the order of the arguments of the program.
        shape: sides; a name for one that is free, `FREE` where there is but one.
        meaning: one sentence.
    """

    name: str
    shape: tuple[int | str, ...]
    meaning: str


@dataclass(frozen=True)
class Graph:
    """A network with tensors as arguments and a tuple of tensors as result.

    Attributes:
        module: in evaluation mode.
        inputs, outputs: what they are.
        metadata: what an ONNX file says beside, by name.
        prepare: makes input with so many instances, where it cannot be random.
        no_program: why `torch.export` does not hold the network; "" where it does.
    """

    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[int], tuple[torch.Tensor, ...]] | None = None
    no_program: str = ""

    def example(self, number: int = 2) -> tuple[torch.Tensor, ...]:
        """Random input, the free side `number` long; masks are rectangles."""
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
    """Return the network inside a model.

    Args:
        model: `MaskOrderNet` (what `occ_order.lite` prepares of an image and masks, to the logits
            of all pairs), `MaskCompletionNet` (views of instances to logits of their cells),
            Detectron2's `GeneralizedRCNN` with masks and one class (an image to boxes, scores and
            small masks), `PairwiseOrderNet` (pair inputs to logits), `OrderRCNN` (an image and
            masks to the logits of all pairs; its detector is left out), or `InstaDepthNet` (a
            image and the masks of pairs to a disparity map and logits).
        size: height and width of the images, where the model leaves them open: multiples of 32.
        part: of an InstaDepthNet: "orders", or "disparity" for the map alone, of B images.
        cfg: of those that `occ_order.lite` runs (the first three): how images are prepared.

    Raises:
        ValueError: another model, a size that does not fit, or an unknown part.
    """
    if part not in PARTS:
        raise ValueError(f"part must be one of {PARTS}, got {part!r}")
    model = model.eval()
    if type(model) in LITE:  # a GeneralizedRCNN's subclasses do more
        if cfg is None:
            raise ValueError(f"a {type(model).__name__} is exported with its settings: give cfg")
        return _lite_graph(model, cfg)
    if isinstance(model, PairwiseOrderNet):
        return _pair_graph(model)
    if isinstance(model, OrderRCNN):
        return _order_head_graph(model, _checked(size))
    if isinstance(model, InstaDepthNet):
        size = _checked(size or model.input_size)
        return _disparity_graph(model, size) if part == "disparity" else _depth_graph(model, size)
    raise ValueError(
        f"{type(model).__name__} cannot be exported; MaskOrderNet, MaskCompletionNet, "
        "GeneralizedRCNN, PairwiseOrderNet, OrderRCNN and InstaDepthNet can (the CRF of OOSIS is "
        "no network)"
    )


def _lite_graph(model: nn.Module, cfg: CfgNode) -> Graph:
    if isinstance(model, MaskOrderNet):
        return _mask_order_graph(model, cfg)
    if isinstance(model, MaskCompletionNet):
        return _completion_graph(model, cfg)
    return _segmenter_graph(model, cfg)


def save_program(graph: Graph, path: str | os.PathLike[str]) -> None:
    """Write a program for `torch.export.load`, free in the number of pairs, instances or images.

    Raises:
        ValueError: `torch.export` does not hold the network.
    """
    if graph.no_program:
        raise ValueError(f"no program of torch.export, only ONNX: {graph.no_program}")
    free = tuple(dict.fromkeys(_free(t), torch.export.Dim.DYNAMIC) for t in graph.inputs)
    with torch.no_grad():
        program = torch.export.export(
            graph.module, graph.example(3), dynamic_shapes=free, strict=False
        )
    torch.export.save(program, os.fspath(path))


def _free(tensor: Tensor) -> dict[int, str]:
    """Return the sides that may have any length, with their names."""
    return {k: side for k, side in enumerate(tensor.shape) if isinstance(side, str)}


def save_onnx(graph: Graph, path: str | os.PathLike[str], *, half: bool = False) -> None:
    """Write ONNX of opset `OPSET` in one file, from a trace.

    Args:
        graph: the network.
        path: the file; `graph.metadata` stands in its metadata.
        half: store weights as float16, which are made float32 when the file is loaded.

    Raises:
        ImportError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError('ONNX needs onnx: pip install ".[export]"') from error
    free = {tensor.name: _free(tensor) for tensor in (*graph.inputs, *graph.outputs)}
    with warnings.catch_warnings():
        # PyTorch recommends its exporter from torch.export: see the head of this module.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Detectron2 checks shapes with "if", which a trace takes for constants.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            graph.module,
            graph.example(3),
            os.fspath(path),
            input_names=[tensor.name for tensor in graph.inputs],
            output_names=[tensor.name for tensor in graph.outputs],
            opset_version=OPSET,
            dynamic_axes={name: sides for name, sides in free.items() if sides},
            dynamo=False,
            # Batch normalisation is not multiplied into weights: stored as float16 they stay exact.
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,  # whoever loads the file does that
        )
    made = onnx.load(os.fspath(path))
    if half:
        _halve(made.graph)
    onnx.helper.set_model_props(made, {**graph.metadata})
    onnx.checker.check_model(made)
    onnx.save(made, os.fspath(path))


def _halve(graph: Any) -> None:
    """Store the large weights of an ONNX graph as float16, each with a cast to float32."""
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
    """Write JSON: name, shape and meaning of everything that goes in and comes out."""
    sides = {"inputs": graph.inputs, "outputs": graph.outputs}
    text: dict[str, Any] = {
        key: [vars(tensor) for tensor in tensors] for key, tensors in sides.items()
    }
    text[FREE] = "any length from 1 on; where there is nothing to order, no network is run"
    write_json(path, text, indent=2)


def _checked(size: Sequence[int]) -> tuple[int, int]:
    if len(size) != 2 or any(side <= 0 or side % STRIDE for side in size):
        raise ValueError(f"size must be height and width in multiples of {STRIDE}, got {[*size]}")
    return int(size[0]), int(size[1])


def _rectangles(shape: Sequence[int]) -> torch.Tensor:
    """float32 of the shape, 1 inside a random rectangle of each last two sides."""
    masks = torch.zeros(shape)
    for mask in masks.flatten(0, -3):
        y, x = (int(torch.randint(0, side // 2, ())) for side in mask.shape)
        mask[y : y + mask.shape[0] // 2, x : x + mask.shape[1] // 2] = 1
    return masks


def _image(number: int | str, size: Sequence[int], channels: str) -> Tensor:
    return Tensor("image", (number, 3, *size), f"0 .. 255, {channels}, stretched to this size")


# --- InstaOrderNet


class _Pairs(nn.Module):
    def __init__(self, model: PairwiseOrderNet) -> None:
        super().__init__()
        self.classifier = model.classifier

    def forward(self, pairs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.classifier(pairs).values())


def _pair_graph(model: PairwiseOrderNet) -> Graph:
    side = model.inputs.size
    pairs = Tensor(
        "pairs",
        (FREE, model.inputs.channels, side, side),
        "as occ_order.methods.instaorder.inputs.PairInputs makes them of "
        f"{[*model.inputs.planes]}: of the first instance, of the second, normalised image; "
        "mode " + model.inputs.mode,
    )
    outputs = [
        Tensor(task, (FREE, head.out_features), LOGITS[task])
        for task, head in model.classifier.heads.items()
    ]
    return Graph(_Pairs(model).eval(), (pairs,), tuple(outputs))


# --- the order of given masks


def _mask_order_graph(model: MaskOrderNet, cfg: CfgNode) -> Graph:
    settings = export_mask_order.settings_of(model, cfg)
    inputs = [
        Tensor(name, shape, meaning)
        for name, (shape, meaning) in export_mask_order.inputs(settings).items()
    ]
    outputs = (
        Tensor("occlusion", (FREE, FREE), "logit: row occludes column (sigmoid)"),
        Tensor("depth", (FREE, FREE, 3), "logits: row closer; farther; equal (softmax)"),
    )
    return Graph(
        export_mask_order.MaskOrderGraph(model).eval(),
        tuple(inputs),
        outputs,
        metadata_of(settings, lite_mask_order.SETTINGS),
        lambda number: export_mask_order.example(settings, number),
        "torch.export takes a side of length 1 for fixed, and one instance has one pair",
    )


# --- amodal masks of given masks


def _completion_graph(model: MaskCompletionNet, cfg: CfgNode) -> Graph:
    settings = export_completion.settings_of(model, cfg)
    side = settings.size
    shown = "0 .. 1: the instance, what may hide it, other masks, the image, the convex hull"
    return Graph(
        export_completion.CompletionGraph(model.network).eval(),
        (Tensor("views", (FREE, views.CHANNELS, side, side), shown),),
        (Tensor("logits", (FREE, side, side), "the instance is here, too (sigmoid)"),),
        metadata_of(settings, lite_completion.SETTINGS),
        lambda number: (torch.rand((number, views.CHANNELS, side, side)),),
    )


# --- instances of any class


def _segmenter_graph(model: GeneralizedRCNN, cfg: CfgNode) -> Graph:
    settings = export_segmenter.settings_of(model, cfg)
    sides = f"0 .. 255, {settings.channels}; sides are multiples of {settings.divisibility}"
    inputs = (
        Tensor("image", (1, 3, "height", "width"), sides),
        Tensor("size", (2,), "int64: rows and columns that are image, not added to fill it up"),
    )
    outputs = (
        Tensor("boxes", (FREE, 4), "x0, y0, x1, y1 in pixels of the input"),
        Tensor("scores", (FREE,), "0 .. 1, falling"),
        Tensor("masks", (FREE, "rows", "columns"), "probabilities inside the box"),
    )
    return Graph(
        export_segmenter.SegmenterGraph(model).eval(),
        inputs,
        outputs,
        metadata_of(settings, lite_segmenter.SETTINGS),
        lambda _: export_segmenter.example(settings),
        "torch.export does not come to an end where lists of boxes have any length",
    )


# --- the order head


def _order_head_graph(model: OrderRCNN, size: tuple[int, int]) -> Graph:
    image = _image(1, size, f"channels as INPUT.FORMAT ({model.input_format})")
    masks = Tensor("masks", (FREE, *size), "1 inside an instance, else 0; visible parts")
    outputs = (
        Tensor("occlusion", (FREE, FREE), "logit: row occludes column (sigmoid)"),
        Tensor("depth", (FREE, FREE, 3), "logits: row closer; farther; equal (softmax)"),
    )
    return Graph(DenseOrderHead(model, size).eval(), (image, masks), outputs)


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
        # One image: its features are added to those of every pair.
        fed = {name: features[name] for name in STAGES}
        return disparity, *(head(masks, fed) for head in self.heads.values())


def _disparity_graph(model: InstaDepthNet, size: tuple[int, int]) -> Graph:
    image = _image(FREE, size, model.input_format)
    disparity = Tensor("disparity", (FREE, *size), "larger = nearer, of no particular scale")
    return Graph(_Disparity(model).eval(), (image,), (disparity,))


def _depth_graph(model: InstaDepthNet, size: tuple[int, int]) -> Graph:
    image = _image(1, size, model.input_format)
    masks = Tensor("masks", (FREE, 2, *size), "first and second instance of a pair, 1 inside")
    disparity = Tensor("disparity", (1, *size), "larger = nearer, of no particular scale")
    outputs = [
        Tensor(name, (FREE, head.predictor.out_features), LOGITS[name])
        for name, head in model.heads.items()
    ]
    return Graph(_Depth(model).eval(), (image, masks), (disparity, *outputs))
