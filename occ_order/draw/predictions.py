"""Images of what a model says about one photograph, from its entry in `order_results.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networkx as nx
import numpy as np

from occ_order import masks as mask_codec
from occ_order.draw.canvas import (
    check_image,
    display_scale,
    draw_labels,
    enlarge_mask,
    label_points,
)
from occ_order.draw.colors import instance_colors
from occ_order.draw.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.draw.maps import draw_instances, draw_outline, draw_relative_depth
from occ_order.formats.layered_image import front_to_back
from occ_order.order import io
from occ_order.order.encoding import CLOSER, EQUAL

STRIPE = 4  # pixels of an enlarged image


def prediction_images(
    image: np.ndarray, result: Mapping[str, Any], *, class_names: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Every image that a result has something for.

    Args:
        image: uint8 (H, W, 3) RGB, the photograph.
        result: dict of one image (`occ_order.order.io`).
        class_names: a name for each instance, for the graphs.

    Returns:
        name -> uint8 (h, w, 3): "overlay" always; with an occlusion order "occlusion" (arrows on
        the photograph), "occlusion_graph"; with a depth order "depth_graph" (the arrows that the
        others follow from); with either "relative_depth"; with whole masks "amodal".

    Raises:
        ValueError: the photograph has another size than the result; names the image.
    """
    image = check_image(image)
    size = result["height"], result["width"]
    if image.shape[:2] != size:
        raise ValueError(
            f"image {result['image_id']!r}: the image is {image.shape[:2]}, the result is "
            f"for {size}"
        )
    modal = _masks_of(result, "segmentation")
    occlusion, depth, overlap = io.matrices(result)
    scale = display_scale(*size)
    graph = {"images": thumbnails(image, modal), "names": class_names}
    made = {"overlay": draw_instances(image, modal, scale=scale)}
    if occlusion is not None:
        made["occlusion"] = draw_graph_on_image(image, modal, occlusion, scale=scale)
        made["occlusion_graph"] = draw_order_graph(occlusion, **graph)
    if depth is not None:
        made["depth_graph"] = draw_order_graph(
            direct_arrows(depth == CLOSER), overlap=overlap, equal=depth == EQUAL, **graph
        )
    if occlusion is not None or depth is not None:
        nearness = -front_to_back(occlusion, depth)[1]
        made["relative_depth"] = draw_relative_depth(modal, nearness, scale=scale, size=size)
    whole = _masks_of(result, "amodal_segmentation")
    if whole is not None:
        made["amodal"] = draw_amodal(image, modal, whole, scale=scale)
    return made


def _masks_of(result: Mapping[str, Any], key: str) -> np.ndarray | None:
    """bool (N, H, W); None where an instance does not have the key."""
    found = [instance.get(key) for instance in result["instances"]]
    if key != "segmentation" and (None in found or not found):
        return None
    return mask_codec.decode_all(found, result["height"], result["width"])


def direct_arrows(relation: np.ndarray) -> np.ndarray:
    """The arrows of a relation without those that follow from others.

    Args:
        relation: bool (N, N).

    Returns:
        int8 (N, N): the transitive reduction; the relation itself if it has a circle.
    """
    graph = nx.from_numpy_array(np.asarray(relation, bool), create_using=nx.DiGraph)
    if nx.is_directed_acyclic_graph(graph):
        graph = nx.transitive_reduction(graph)
    return nx.to_numpy_array(graph, nodelist=range(len(relation)), dtype=np.int8)


def draw_amodal(
    image: np.ndarray,
    modal: np.ndarray,
    amodal: np.ndarray,
    *,
    scale: int = 1,
    label_size: int | Sequence[int] = 15,
) -> np.ndarray:
    """Instances with their hidden parts striped in their colours, whole outlines around.

    Args:
        image: (H, W, 3).
        modal: bool (N, H, W), visible parts.
        amodal: bool (N, H, W), whole objects.
        scale: whole factor of enlargement.
        label_size: font size of the numbers in pixels, one for all or N.

    Returns:
        image (H * scale, W * scale, 3).
    """
    labels = [str(k + 1) for k in range(len(modal))]
    drawn = draw_instances(image, modal, labels=[""] * len(modal), scale=scale)
    rows, columns = np.indices(drawn.shape[:2])
    colors = instance_colors(len(modal))
    for k, color in enumerate(colors):
        # Stripes of different instances stand at different angles, so that several show.
        along = rows + columns if k % 2 else rows - columns
        hidden = enlarge_mask(amodal[k] & ~modal[k], scale)
        drawn[hidden & (along // STRIPE % 2 == 0)] = color
        draw_outline(drawn, enlarge_mask(amodal[k], scale), color)
    seen, whole = label_points(modal), label_points(amodal)
    points = np.where(np.isfinite(seen), seen, whole) * scale + (scale - 1) / 2
    return draw_labels(drawn, labels, points, colors, size=label_size)


def instance_label(
    instance: Mapping[str, Any], class_names: Mapping[int, str] | None = None
) -> str:
    """What to call an instance: its own name, its class, or the number of its class."""
    number = instance["category_id"]
    named = instance.get("name") or instance.get("category")
    return str(named or (class_names or {}).get(number) or f"class {number}")
