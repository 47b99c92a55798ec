"""Run the models on a photograph and its masks, and write panels and files for the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from occ_order import model_zoo
from occ_order.apps.drop.work import Work, instances
from occ_order.backends import installed
from occ_order.front import photographs
from occ_order.instances import OrderedInstances

HEADINGS = {
    "occlusion": "who occludes whom",
    "overlay": "instances",
    "occlusion_graph": "who occludes whom, as a graph",
    "depth_graph": "who is closer",
    "relative_depth": "relative depth",
    "amodal": "whole objects, hidden parts striped",
    "layers": "layers, front to back",
    "levels": "levels",
    "disparity_color": "disparity: bright is near",
}
"""Panel name -> heading, in the order of the page."""

Write = Callable[[Path, OrderedInstances], None]
"""Function that writes all files of a result to a folder."""


@dataclass(frozen=True)
class Settings:
    """Settings of the page.

    Attributes:
        write: function that writes images, layers and graphs of a result.
        detector: detector for photographs without masks, in addition to the built-in ones; a name
            or a file as for `occ_order.predict`.
        device: "cpu" or "cuda".
        backend: as for `occ_order.predict`.
    """

    write: Write
    detector: str | None = None
    device: str = "cpu"
    backend: str = "auto"


@dataclass(frozen=True)
class Answer:
    """Results that the page shows.

    Attributes:
        about: description of the models used, their training data and their limits.
        sentences: one line per instance and per relation.
        panels: image files with their headings.
        files: files offered for download.
    """

    about: str
    sentences: str
    panels: list[tuple[Path, str]]
    files: list[Path]


def models(backend: str = "auto") -> list[str]:
    """Return the names of the zoo models that accept input masks and can run here.

    Args:
        backend: as for `occ_order.predict`.
    """
    if backend == "onnx" or not installed("torch", "detectron2"):
        return []
    from detectron2.modeling import META_ARCH_REGISTRY

    import occ_order.methods.build  # noqa: F401  (fills the registry)

    kinds = {
        name: META_ARCH_REGISTRY.get(model_zoo.get_cfg(name).MODEL.META_ARCHITECTURE)
        for name in model_zoo.names()
    }
    return [name for name, kind in kinds.items() if getattr(kind, "accepts_masks", False)]


def detectors(settings: Settings) -> list[str]:
    """Return the available detectors for photographs without masks, the default first."""
    found = [] if settings.detector is None else [settings.detector]
    by_torch = settings.backend != "onnx" and installed("torch", "detectron2")
    if by_torch or "graph" in model_zoo.row(model_zoo.FINDS_INSTANCES):
        found.append(model_zoo.FINDS_INSTANCES)
    if installed("torch", "torchvision"):
        found.append("torchvision")
    return list(dict.fromkeys(found))


def answer(
    work: Work,
    folder: Path,
    settings: Settings,
    *,
    model: str | None = None,
    detector: str | None = None,
    acyclic: bool = False,
) -> Answer:
    """Predict the order of the instances of a photograph and write the files for download.

    Args:
        work: a photograph; if it has no masks, a detector is run.
        folder: empty folder for the files.
        settings: settings of the page.
        model: name in the zoo; None = the default, which also predicts amodal masks.
        detector: one of `detectors`.
        acyclic: break cycles by removing the least probable occlusions.

    Raises:
        ValueError: an outline is not closed; input that `occ_order.predict` rejects; an unknown
            detector; neither masks nor a detector.
        ImportError, OSError: as `occ_order.predict`.
    """
    given = instances(work)
    offered = detectors(settings)
    if given is None and detector not in offered:
        raise ValueError(
            f"nothing here finds instances by the name {detector!r}; there are {offered}"
            if detector
            else "give masks, or outline the things in the photograph: nothing here finds them"
        )
    chain = photographs(
        model=model,
        given_masks=given is not None,
        detector=detector if given is None else None,
        resolve_cycles=acyclic,
        device=settings.device,
        backend=settings.backend,
    )
    result = chain(work.pixels, given, file=work.photo)
    result = result.replace(image_id=work.photo.stem, file_name=work.photo.name)
    return Answer(
        chain.about(masks=given is not None),
        str(result),
        *_written(result, folder, settings.write),
    )


def _written(
    result: OrderedInstances, folder: Path, write: Write
) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Write a result; return its panels and the downloads: JSON results, PSD layers, ZIP of all."""
    everything = folder / Path(str(result.file_name)).stem
    write(everything, result)
    result.save(everything / "order_results.json")
    known = [(everything / f"{name}.png", heading) for name, heading in HEADINGS.items()]
    archive = shutil.make_archive(str(everything), "zip", everything)
    files = [everything / "order_results.json", everything / "layers.psd", Path(archive)]
    return [panel for panel in known if panel[0].exists()], [f for f in files if f.exists()]
