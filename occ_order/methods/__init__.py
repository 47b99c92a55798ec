"""The methods, one folder each, and `common`, what several of them share.

A method's folder holds its settings, mapper, layers, losses, networks and evaluators. Nothing is
imported here, nor by the folders' own `__init__`: what needs arrays or PyTorch alone stays usable
without Detectron2. :mod:`occ_order.methods.build` imports all of them, which fills the registries.
"""
