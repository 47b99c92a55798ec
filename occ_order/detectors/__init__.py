"""Anybody's detector: what finds the instances of a photograph, for our models to order.

========================  ======================================================================
"zoo:NAME", or NAME       a model of the model zoo
"torchvision"             torchvision's maskrcnn_resnet50_fpn_v2; another one by
                          "torchvision:maskrcnn_resnet50_fpn"
"detectron2:CONFIG"       a model of Detectron2's model zoo, such as
                          "detectron2:COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
"FILE.yaml"               a configuration of Detectron2; one of another project may have settings
                          that only that project's code knows
"FILE.py"                 a LazyConfig of Detectron2, which is Python code and is run
any other file or folder  results, as `masks` may be (:mod:`occ_order.formats.user_masks`)
a function                uint8 (H, W, 3) RGB to what :mod:`occ_order.formats.given` knows
========================  ======================================================================

One row of `occ_order.detectors.registry.ADAPTERS` each; `build_detector` there builds them. Nothing
that needs PyTorch is imported before it is asked for.
"""
