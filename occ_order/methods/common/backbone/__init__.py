"""Backbones in addition to Detectron2's."""
