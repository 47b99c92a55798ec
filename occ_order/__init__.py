"""Occlusion and depth order of the instances in a photograph, as a Detectron2 extension.

Importing the package itself imports nothing else: the parts that need only arrays
(:mod:`occ_order.order`, :mod:`occ_order.metrics`, :mod:`occ_order.crf`, :mod:`occ_order.targets`,
:mod:`occ_order.masks`, :mod:`occ_order.scenes`) stay usable without PyTorch and Detectron2.
"""

__version__ = "0.1.0"
