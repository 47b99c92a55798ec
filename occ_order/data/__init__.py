"""Data sets: readers and writers of the published formats, registrations, and a validator.

`occ_order.data.datasets` holds the pure readers (file -> list of records) and needs neither torch
nor Detectron2. `occ_order.data.builtin` registers them with Detectron2. Nothing is imported here,
so that the readers stay usable on their own.
"""
