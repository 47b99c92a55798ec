"""MaskOrderNet: occlusion and depth order of input masks in photographs."""
