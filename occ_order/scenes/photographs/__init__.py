"""Composed photographs: objects pasted on photographs in layers, with exact ground truth.

>>> from occ_order.scenes.photographs import Library, compose
>>> library = Library.build({"mine": records})            # doctest: +SKIP
>>> scene = compose(library, 7)                            # doctest: +SKIP
"""

from __future__ import annotations

from occ_order.scenes.photographs.composer import COMPOSER, compose
from occ_order.scenes.photographs.library import Cutout, Library, Photo
from occ_order.scenes.photographs.noise import annotator_noise

__all__ = ["COMPOSER", "Cutout", "Library", "Photo", "annotator_noise", "compose"]
