"""The instances of one image, their masks, and the order between them.

:class:`OrderedInstances` is the one container for input masks, predictions and ground truth: it is
read from files, returned by models, drawn, saved and scored. N instances, H x W pixels. Row = first
instance of a pair, column = second; the values of the matrices are defined in
:mod:`occ_order.order.encoding`. Masks are bool arrays in memory and run-length encoded (RLE) in
files only.

    result = occ_order.predict("photo.jpg", masks)
    print(result)                        # "cup 3 occludes plate 7 (0.93)"
    front = result[result.layers() == 0]
    result.save("order.json")
    result = occ_order.load("order.json")

Matplotlib, networkx, Detectron2 and other optional libraries are imported by the methods that use
them, not with this module.
"""

from __future__ import annotations

import dataclasses
import html
import importlib.util
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import masks as mask_codec
from occ_order.order import graph as order_graph
from occ_order.order import io
from occ_order.order.encoding import (
    CLOSER,
    EQUAL,
    check_depth,
    check_occlusion,
)

if TYPE_CHECKING:
    import fiftyone
    import networkx
    import supervision
    from detectron2.structures import Instances
    from matplotlib.figure import Figure

ORDERS = ("occlusion", "depth")
"""The two orders of a pair."""

_PAIRS = ("occlusion", "occlusion_prob", "depth", "depth_prob", "overlap", "count")
_STACKS = ("modal", "amodal", "levels", "sem_dist")


@dataclass(frozen=True, eq=False, repr=False)
class OrderedInstances:
    """Instances of one image with their masks and their order. Do not modify the arrays.

    Attributes:
        image_id: id of the image, an integer or a string.
        size: (H, W) in pixels.
        modal: bool (N, H, W), modal (visible) masks.
        amodal: bool (N, H, W), amodal masks, visible and occluded region; None = unknown.
        classes: int64 (N,), category ids of the file or the model; default: all 1.
        names: N names, of the categories or of the instances; "" = this one has no name; None = no
            instance has one.
        scores: float64 (N,), confidence of the instances; default: all 1.
        ids: N unique ids, integers or strings, as in the input; default: 1 .. N.
        occlusion: int8 (N, N), 1 = the row occludes the column, 0 = it does not, -1 = unknown; None
            if no occlusion order was predicted or annotated.
        occlusion_prob: float64 (N, N) in [0, 1], probability that the row occludes the column;
            None = 1 for every relation.
        depth: int8 (N, N), 1 = the row is closer, 0 = farther, 2 = equal, -1 = unknown; None if
            there is no depth order.
        depth_prob: float64 (N, N) in [0, 1], symmetric, probability of the relation in `depth`;
            None = 1 for every relation.
        overlap: int8 (N, N), 1 = the depth ranges overlap, 0 = they are distinct, -1 = unknown.
        count: int16 (N, N), number of annotators of the depth relation, -1 = unknown.
        levels: int8 (N, H, W), number of objects that occlude a pixel of the amodal mask (0 =
            visible), -1 outside the mask.
        sem_dist: float32 (N, H, W), the sem-dist maps: confidence minus level (SLN, Eq. 1).
        disparity: float32 (H, W), larger = nearer, scale arbitrary; None = not predicted.
        image: uint8 (H, W, 3) RGB, the background of drawings; None = not available.
        file_name: file name of the image; None = unknown.

    `save`, `to_dict` and `to_json` leave `image`, `count`, `levels`, `sem_dist` and `disparity`
    out; `np.save("disparity.npy", result.disparity)` keeps a map.

    Raises:
        ValueError: a shape, a value or a duplicate id is invalid; the message names the image, the
            attribute, the expected and the actual shape.
    """

    image_id: int | str
    size: tuple[int, int]
    modal: np.ndarray
    amodal: np.ndarray | None = None
    # None stands for the default, which __post_init__ fills in: an instance never holds None here.
    classes: np.ndarray = None  # type: ignore[assignment]
    names: tuple[str, ...] | None = None
    scores: np.ndarray = None  # type: ignore[assignment]
    ids: tuple[int | str, ...] = None  # type: ignore[assignment]
    occlusion: np.ndarray | None = None
    occlusion_prob: np.ndarray | None = None
    depth: np.ndarray | None = None
    depth_prob: np.ndarray | None = None
    overlap: np.ndarray | None = None
    count: np.ndarray | None = None
    levels: np.ndarray | None = None
    sem_dist: np.ndarray | None = None
    disparity: np.ndarray | None = None
    image: np.ndarray | None = None
    file_name: str | None = None

    def __post_init__(self) -> None:
        """Fill in the defaults and check that the shapes and values of all attributes agree."""
        where = f"image {self.image_id!r}"
        size = (int(self.size[0]), int(self.size[1]))
        n = len(self.modal)
        values: dict[str, Any] = {"size": size}
        for key in ("modal", "amodal"):
            if (stack := getattr(self, key)) is not None:
                try:
                    values[key] = mask_codec.as_bool(stack, 3)
                except ValueError as error:
                    raise ValueError(f"{where}: {key}: {error}") from None
        for key in _STACKS:
            stack = getattr(self, key)
            if stack is not None and np.shape(stack) != (n, *size):
                raise ValueError(f"{where}: {key} must be {(n, *size)}, got {np.shape(stack)}")
        values |= {
            "classes": np.ones(n, np.int64) if self.classes is None else np.asarray(self.classes),
            "scores": np.ones(n) if self.scores is None else np.asarray(self.scores, np.float64),
            "ids": tuple(range(1, n + 1)) if self.ids is None else tuple(self.ids),
            "names": None if self.names is None else tuple(map(str, self.names)),
        }
        for key in ("classes", "scores", "ids", "names"):
            if values[key] is not None and len(values[key]) != n:
                raise ValueError(f"{where}: got {len(values[key])} {key} for {n} instances")
        if len(set(values["ids"])) != n:
            raise ValueError(f"{where}: an id stands twice in {list(values['ids'])}")
        values |= _checked_orders({key: getattr(self, key) for key in _PAIRS}, n, where)
        for key, value in values.items():
            object.__setattr__(self, key, value)  # the class is frozen

    # --- instances -------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return N."""
        return len(self.modal)

    def __iter__(self) -> Iterator[OrderedInstances]:
        """Yield each instance as an `OrderedInstances` of length 1."""
        return (self[[k]] for k in range(len(self)))

    def __getitem__(self, keep: Any) -> OrderedInstances:
        """Return a selection of the instances, with the rows and columns of the matrices selected.

        Args:
            keep: bool (N,), an index, indices, or a slice.
        """
        places = np.atleast_1d(np.arange(len(self))[keep])
        pairs = np.ix_(places, places)
        kept: dict[str, Any] = {
            key: value[places] for key in _STACKS if (value := getattr(self, key)) is not None
        }
        kept |= {key: value[pairs] for key in _PAIRS if (value := getattr(self, key)) is not None}
        kept |= {"classes": self.classes[places], "scores": self.scores[places]}
        kept["ids"] = tuple(self.ids[k] for k in places)
        if self.names is not None:
            kept["names"] = tuple(self.names[k] for k in places)
        return dataclasses.replace(self, **kept)

    def replace(self, **changes: Any) -> OrderedInstances:
        """Return a copy with some attributes replaced; checked as in the constructor."""
        return dataclasses.replace(self, **changes)

    @property
    def invisible(self) -> np.ndarray | None:
        """The occluded regions, amodal minus modal, bool (N, H, W); None if `amodal` is None."""
        return None if self.amodal is None else self.amodal & ~self.modal

    def label(self, k: int) -> str:
        """Return the name and the id of the instance at index k, such as "cup 3"."""
        name = (self.names[k] if self.names else "") or "instance"
        return f"{name} {self.ids[k]}"

    # --- order -----------------------------------------------------------------------------

    def layers(self) -> np.ndarray:
        """Compute the layer of each instance, int64 (N,), 0 = nearest; one layer for a cycle.

        Raises:
            ValueError: there is no order of occlusion.
        """
        return order_graph.layers(self._order("occlusion"))

    def relative_depth(self) -> np.ndarray:
        """Compute the relative depth, int64 (N,) >= 1, larger for an occluder than its occludee.

        Raises:
            ValueError: there is no order of occlusion.
        """
        return order_graph.relative_depth(self._order("occlusion"))

    def cycles(self) -> list[tuple[int | str, ...]]:
        """Return the strongly connected components of two or more instances, each a tuple of ids.

        Two instances that occlude each other are such a component.

        Raises:
            ValueError: there is no order of occlusion.
        """
        groups = order_graph.cycles(self._order("occlusion"))
        return [tuple(self.ids[k] for k in group) for group in groups]

    def without_cycles(self) -> OrderedInstances:
        """Return a copy with the least probable occlusions of each cycle removed.

        See `occ_order.order.resolve_cycles`. `occlusion_prob` is not changed.

        Raises:
            ValueError: there is no order of occlusion.
        """
        occlusion = self._order("occlusion")
        return self.replace(occlusion=order_graph.resolve_cycles(occlusion, self.occlusion_prob))

    def graph(self, order: str = "occlusion") -> networkx.DiGraph:
        """Convert an order to a directed graph whose nodes are the ids of the instances.

        Nodes have "name", "category_id" and "score". Edges start at the occluder or the closer
        instance (an equal pair: at the first) and have "relation" ("occludes", "closer" or
        "equal") and "probability".

        Args:
            order: "occlusion" or "depth".

        Raises:
            ValueError: there is no such order.
        """
        self._order(order)
        result = order_graph.graph_library().DiGraph(image_id=self.image_id, order=order)
        for k, number in enumerate(self.ids):
            name = self.names[k] if self.names else ""
            values = {"category_id": int(self.classes[k]), "score": float(self.scores[k])}
            result.add_node(number, name=name, **values)
        for i, j, relation, probability in self._edges(order):
            result.add_edge(self.ids[i], self.ids[j], relation=relation, probability=probability)
        return result

    def relations(self, order: str = "occlusion") -> list[str]:
        """Return one sentence for each relation, such as "cup 3 occludes plate 7 (0.93)".

        Pairs without a relation (no occlusion, or unknown) have none. Numbers are probabilities.

        Args:
            order: "occlusion" or "depth".

        Raises:
            ValueError: there is no such order.
        """
        self._order(order)
        edges = {(i, j): (what, number) for i, j, what, number in self._edges(order)}
        found = []
        for (i, j), (what, number) in edges.items():
            first, second = self.label(i), self.label(j)
            if what == "equal":
                found.append(f"{first} and {second} are equally far ({number:.2f})")
            elif what == "closer":
                found.append(f"{first} is closer than {second} ({number:.2f})")
            elif (j, i) not in edges:
                found.append(f"{first} occludes {second} ({number:.2f})")
            elif i < j:
                back = edges[j, i][1]
                found.append(f"{first} and {second} occlude each other ({number:.2f}, {back:.2f})")
        return found

    def _order(self, order: str) -> np.ndarray:
        if order not in ORDERS:
            raise ValueError(f"order must be 'occlusion' or 'depth', got {order!r}")
        matrix = getattr(self, order)
        if matrix is None:
            raise ValueError(f"image {self.image_id!r} has no {order} order")
        return matrix

    def _edges(self, order: str) -> list[tuple[int, int, str, float]]:
        """Return (i, j, relation, probability) of each edge; an equal pair once, with i < j."""
        matrix, probability = self._order(order), getattr(self, f"{order}_prob")
        if order == "occlusion":
            found = [(i, j, "occludes") for i, j in np.argwhere(matrix == 1).tolist()]
        else:
            chosen = (matrix == CLOSER) | np.triu(matrix == EQUAL)
            kinds = {CLOSER: "closer", EQUAL: "equal"}
            found = [(i, j, kinds[int(matrix[i, j])]) for i, j in np.argwhere(chosen).tolist()]
        if probability is None:
            return [(*edge, 1.0) for edge in found]
        if order == "depth":  # one probability for a pair, read from the upper triangle
            return [(i, j, what, float(probability[min(i, j), max(i, j)])) for i, j, what in found]
        return [(i, j, what, float(probability[i, j])) for i, j, what in found]

    # --- text and drawings -----------------------------------------------------------------

    def __repr__(self) -> str:
        """Return one line: image id, image size, number of instances, orders present."""
        known = [order for order in ORDERS if getattr(self, order) is not None]
        height, width = self.size
        return (
            f"<OrderedInstances: image {self.image_id!r}, {height} x {width}, {len(self)} "
            f"instances, {' and '.join(known) or 'no'} order>"
        )

    def __str__(self) -> str:
        """List each instance, each relation and each larger cycle on a line of its own."""
        lines = [f"image {self.image_id}: {_counted(len(self), 'instance')}"]
        for k in range(len(self)):
            pixels = int(self.modal[k].sum())
            lines.append(f"  {self.label(k)} ({self.scores[k]:.2f}), {pixels:,} pixels")
        for order in ORDERS:
            if getattr(self, order) is not None:
                said = self.relations(order)
                lines.append(f"{order}: {_counted(len(said), 'relation')}")
                lines += [f"  {sentence}" for sentence in said]
        if self.occlusion is not None:
            lines += self._rounds()
        return "\n".join(lines)

    def _rounds(self) -> list[str]:
        """Return a line per cycle of three or more; mutual occlusion is listed as a relation."""
        groups = [g for g in order_graph.cycles(self._order("occlusion")) if len(g) > 2]
        named = [", ".join(map(self.label, group)) for group in groups]
        lines = [f"  {names} form a cycle" for names in named]
        return [f"cycles: {_counted(len(groups), 'group')}", *lines] if groups else []

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the text of `str` below a drawing.

        The drawing is left out if there is no `image`, or Matplotlib is not installed.
        """
        lines = f"<pre>{html.escape(str(self))}</pre>"
        if self.image is None or importlib.util.find_spec("matplotlib") is None:
            return lines
        panel = _call("occ_order.draw.results", "overview", self)
        png = b64encode(_call("occ_order.draw", "png_bytes", panel.image)).decode("ascii")
        return f'<img alt="{html.escape(panel.alt)}" src="data:image/png;base64,{png}">{lines}'

    def plot(self, image: np.ndarray | str | os.PathLike[str] | None = None) -> Figure:
        """Draw the instances, their order and the graph side by side.

        Args:
            image: uint8 (H, W, 3) RGB, or its file; None = `self.image`, or a white
                background if that is None.

        Returns:
            A matplotlib figure.

        Raises:
            ImportError: Matplotlib is not installed.
            ValueError: the size of the image is not `size`.
        """
        if importlib.util.find_spec("matplotlib") is None:
            raise ImportError('this needs Matplotlib: pip install "occ_order[report]"')
        return _call("occ_order.draw.results", "figure", self, image)

    # --- files and other libraries ---------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the image in an `order_results.json` (`occ_order.order.io`)."""
        result = io.results_image(
            image_id=self.image_id,
            height=self.size[0],
            width=self.size[1],
            modal=self.modal,
            amodal=self.amodal,
            classes=self.classes.tolist(),
            scores=self.scores.tolist(),
            ids=self.ids,
            occlusion=self.occlusion,
            occlusion_prob=self.occlusion_prob,
            depth=self.depth,
            depth_prob=self.depth_prob,
            overlap=self.overlap,
        )
        for instance, key, name in zip(
            result["instances"], self._name_keys(), self.names or (), strict=False
        ):
            if name:
                instance[key] = name
        if self.file_name is not None:
            result["file_name"] = self.file_name
        return result

    def _name_keys(self) -> list[str]:
        """Return the JSON key of each name: "category", or "name" if a class has several names."""
        known: dict[int, set[str]] = {}
        for number, name in zip(self.classes.tolist(), self.names or (), strict=False):
            known.setdefault(number, set()).add(name)
        return [
            "category" if len(known.get(number, ())) == 1 else "name"
            for number in self.classes.tolist()
        ]

    @classmethod
    def from_dict(
        cls,
        image: Mapping[str, Any],
        /,
        *,
        class_names: Mapping[int, str] | None = None,
        **more: Any,
    ) -> OrderedInstances:
        """Return the instances of one image of an `order_results.json`.

        Args:
            image: dict of the image (`occ_order.order.io`).
            class_names: name by category id, for instances that have none in the dict.
            more: attributes to add or override, such as `image`.

        Raises:
            ValueError: the dict violates the format; the message names the image.
        """
        io.check_image(image)
        size, instances = (image["height"], image["width"]), image["instances"]
        whole = [instance.get("amodal_segmentation") for instance in instances]
        occlusion, depth, overlap = io.matrices(image)
        occlusion_prob, depth_prob = (
            None if matrix is None else np.nan_to_num(matrix) for matrix in io.probabilities(image)
        )
        known = class_names or {}
        names = tuple(
            str(i.get("name") or i.get("category") or known.get(i["category_id"], ""))
            for i in instances
        )
        values: dict[str, Any] = {
            "amodal": None if None in whole or not whole else mask_codec.decode_all(whole, *size),
            "classes": np.array([i["category_id"] for i in instances], np.int64),
            "names": names if any(names) else None,
            "scores": np.array([i["score"] for i in instances], np.float64),
            "ids": tuple(i["id"] for i in instances),
            "occlusion": occlusion,
            "occlusion_prob": occlusion_prob,
            "depth": depth,
            "depth_prob": depth_prob,
            "overlap": overlap,
            "file_name": image.get("file_name"),
        }
        modal = mask_codec.decode_all([i["segmentation"] for i in instances], *size)
        return cls(image["image_id"], size, modal, **{**values, **more})

    def to_json(self) -> str:
        """Return the text of an `order_results.json` with this image."""
        return io.results_text([self.to_dict()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `order_results.json` with this image, which `occ_order.load` reads.

        Raises:
            OSError: the file cannot be written.
        """
        io.save_results(path, [self.to_dict()])

    def to_coco(self) -> dict[str, Any]:
        """Return {"images", "annotations", "categories"} as COCO's instances files have them.

        "segmentation" is the modal mask as RLE, "amodal_segmentation" the amodal mask where known.
        The COCO format has no field for the order, so it is lost. COCO's ids are integers: an image
        id that is a string becomes 1, with `file_name`, or that string, as the file name.

        Raises:
            ValueError: the id of an instance is not an integer.
        """
        return _call("occ_order.formats.coco_order", "to_coco", self)

    def to_supervision(self) -> supervision.Detections:
        """Convert to supervision's Detections; `data["occludes"]` lists the occludees of each.

        Raises:
            ImportError: supervision is not installed.
        """
        return _call("occ_order.formats.supervision_detections", "to_detections", self)

    def to_label_studio(self) -> dict[str, Any]:
        """Convert to a Label Studio task whose prediction holds the order as relations.

        Label Studio imports a JSON list of tasks. The image is referred to by `file_name`.
        """
        return _call("occ_order.formats.label_studio", "task_of", self)

    def to_cvat(self) -> str:
        """Return the XML ("CVAT for images 1.1") of this image, with the order as z-order.

        CVAT's image ids are integers: one that is a string becomes 1, with `file_name`, or that
        string, as the name.
        """
        return _call("occ_order.formats.cvat", "document_of", [self])

    def to_fiftyone(self) -> fiftyone.Sample:
        """Convert to a FiftyOne sample; each of its detections has the attribute "occludes".

        Raises:
            ImportError: fiftyone is not installed.
            ValueError: `file_name` is None.
        """
        return _call("occ_order.formats.fiftyone_sample", "to_sample", self)

    def to_detectron2(self) -> Instances:
        """Convert to Detectron2's Instances; indexing selects rows and columns of the matrices.

        Fields: pred_masks, pred_boxes, pred_classes, scores and, where known, pred_amodal_masks,
        occlusion, occlusion_probability, depth; "ids" if all of them are integers.

        Raises:
            ImportError: PyTorch or Detectron2 is not installed.
        """
        try:
            return _call("occ_order.methods.common.ordered", "to_instances", self)
        except ModuleNotFoundError as error:
            raise ImportError(f"this needs {error.name}: see INSTALL.md") from error


def load(path: str | os.PathLike[str], *, image_id: int | str | None = None) -> OrderedInstances:
    """Read the instances of one image of an `order_results.json`.

    Args:
        path: the JSON file.
        image_id: id of the image; may be None if the file has one image only.

    Raises:
        ValueError: the file violates the format, or the number of matching images is not one.
        OSError: the file cannot be read.
    """
    images = io.load_results(path)
    chosen = [i for i in images if image_id is None or i["image_id"] == image_id]
    if len(chosen) != 1:
        known = ", ".join(repr(image["image_id"]) for image in images[:10])
        wanted = "one image" if image_id is None else f"the image {image_id!r}"
        raise ValueError(f"{path}: expected {wanted}; it has {len(images)}: {known}")
    return OrderedInstances.from_dict(chosen[0])


def load_all(path: str | os.PathLike[str]) -> list[OrderedInstances]:
    """Read every image of an `order_results.json`.

    Raises:
        ValueError: the file violates the format.
        OSError: the file cannot be read.
    """
    return [OrderedInstances.from_dict(image) for image in io.load_results(path)]


def _checked_orders(matrices: Mapping[str, Any], n: int, where: str) -> dict[str, np.ndarray]:
    """Return the matrices of pairs that are not None, checked and with the dtypes of the class."""
    given = {key: np.asarray(matrix) for key, matrix in matrices.items() if matrix is not None}
    for key, matrix in given.items():
        if matrix.shape != (n, n):
            raise ValueError(f"{where}: {key} must be {(n, n)}, got {matrix.shape}")
        if key.endswith("_prob"):
            given[key] = matrix.astype(np.float64, copy=False)
    if "occlusion" in given:
        given["occlusion"] = check_occlusion(given["occlusion"], name=f"{where}: occlusion")
    if "depth" in given:
        depth, overlap, count = check_depth(
            given["depth"], given.get("overlap"), given.get("count"), name=f"{where}: depth"
        )
        checked = {"depth": depth, "overlap": overlap, "count": count}
        given |= {key: matrix for key, matrix in checked.items() if matrix is not None}
    return given


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _call(module: str, function: str, *arguments: Any) -> Any:
    """Import a module on first use, call its function and return the result."""
    return getattr(importlib.import_module(module), function)(*arguments)
