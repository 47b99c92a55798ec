"""`occ-order predict`: predict instances and their order in images and videos."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from occ_order.commands.inputs import count_images, find_inputs, images_of
from occ_order.commands.predict_image import (
    build_predict,
    free_id,
    result_of,
    tell_failure,
)
from occ_order.commands.progress import progress
from occ_order.files import folder_lock, resolve_inside, save_png
from occ_order.formats.layered_image import layers_of, save_layers, save_psd
from occ_order.formats.sem_dist import save_sem_dist
from occ_order.front import says_nothing
from occ_order.instances import ORDERS, OrderedInstances
from occ_order.order import io
from occ_order.panels import PREDICTED


def write(folder: Path, result: OrderedInstances, options: argparse.Namespace) -> None:
    """Write all output files of an image."""
    from occ_order.draw.disparity import save_disparity
    from occ_order.draw.image_panels import panels

    folder.mkdir(parents=True, exist_ok=True)
    if result.disparity is not None:
        save_disparity(folder / "disparity", result.disparity)
    if says_nothing(result):
        return
    assert result.image is not None  # `result_of` gives each result its image
    entry = result.to_dict()
    names = [result.label(k) for k in range(len(result))] if result.names else None
    if result.sem_dist is not None:
        save_sem_dist(folder / "sem_dist.npz", result.sem_dist)
    for kind, panel in panels(result, result.image, kinds=PREDICTED).items():
        save_png(folder / f"{kind}.png", panel.image)
    orders = [order for order in ORDERS if getattr(result, order) is not None]
    if orders:
        layers = layers_of(entry, result.image)
        save_layers(folder / "layers", layers)
        if options.psd:
            save_psd(folder / "layers.psd", layers)
    if options.graphs:
        for order in orders:
            io.save_graphml(folder / f"{order}.graphml", entry, order=order, names=names)
            io.save_dot(folder / f"{order}.dot", entry, order=order, names=names)


def run(options: argparse.Namespace) -> int:
    """Predict all inputs; errors of an image are reported and do not stop the others.

    Returns:
        1 if an image failed, else 0.
    """
    if options.engine or options.shard:
        from occ_order.commands import predict_collection

        return predict_collection.run(options)
    needed = [name for name in ("matplotlib", "networkx") if importlib.util.find_spec(name) is None]
    if needed and not options.json_only:
        raise ValueError(
            f'images need {" and ".join(needed)}: pip install "occ_order[report]"; without them: '
            "--json-only"
        )
    inputs = find_inputs(options.input, options.column)
    chain = build_predict(options)
    print(chain.about(masks=options.masks is not None), flush=True)
    done, failed, taken = 0, 0, set[int | str]()
    results = options.output / "order_results.json"
    images = progress(images_of(inputs, options.every), "predict", total=count_images(inputs))
    with folder_lock(options.output), io.growing_results(results) as add:
        for one in images:
            try:
                folder = resolve_inside(options.output, one.name)
                result = result_of(chain, one, options)
                result = result.replace(image_id=free_id(result.image_id, one.name, taken))
            except (ValueError, OSError) as error:
                tell_failure(str(one.file), error)
                failed += 1
                continue
            if not options.json_only:
                write(folder, result, options)
            done += 1
            taken.add(result.image_id)
            if not says_nothing(result):
                add(result.to_dict())
    print(f"{options.output}: {done} images, {failed} failed")
    return 1 if failed else 0
