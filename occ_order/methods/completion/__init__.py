"""Amodal completion: amodal masks of input masks from their occlusion order."""
