"""`occ-order scenes` and `occ-order compose`: write data sets of generated or composed images."""

from __future__ import annotations

import argparse
import functools
import json
from typing import Any

from occ_order.files import save_png
from occ_order.formats.write_composed import (
    composed_formats,
    composed_library,
    composed_parameters,
    is_composed,
)
from occ_order.formats.write_scenes import make, make_scene, scene_parameters
from occ_order.scenes import PLAIN
from occ_order.scenes.statistics import summarize


def parameters_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the parameters of the data set as JSON-serializable values.

    Raises:
        ValueError: a value is out of range.
    """
    if options.sources:
        return composed_parameters(
            options.sources,
            images=options.images,
            masks=options.masks,
            assume_whole=options.assume_whole,
            train=options.train,
            val=options.val,
            seed=options.seed,
            size=options.long_side,
            jpeg=options.jpeg or 92,
            formats=options.formats or composed_formats(),
        )
    if options.plain:
        options.instances, options.classes = list(PLAIN["num_instances"]), list(PLAIN["classes"])
        options.interlocked, options.texture = PLAIN["interlocked"], PLAIN["texture"]
    return scene_parameters(
        train=options.train,
        val=options.val,
        seed=options.seed,
        size=options.size_range or options.size,
        size_is_range=options.size_range is not None,
        instances=options.instances,
        classes=options.classes,
        interlocked=options.interlocked,
        cyclic=options.cyclic,
        texture=options.texture,
        jpeg=options.jpeg,
    )


def run(options: argparse.Namespace) -> int:
    """Write the data set, contact sheet and statistics; return the exit status."""
    parameters = parameters_of(options)
    if options.output:
        made = make(options.output, parameters, workers=options.workers)
        print(f"{options.output}: {'written' if made else 'already there'}")
    library = None
    if is_composed(parameters) and (options.contact_sheet or options.statistics):
        library = composed_library(parameters, "train")
    make_one = functools.partial(make_scene, parameters, "train", library=library)
    if options.contact_sheet:
        from occ_order.draw.scenes import contact_sheet

        scenes = [make_one(k) for k in range(max(options.sheet_scenes, 1))]
        save_png(options.contact_sheet, contact_sheet(scenes))
    if options.statistics:
        counted = (make_one(k) for k in range(options.statistics))
        print(json.dumps(summarize(counted), indent=2))
    return 0
