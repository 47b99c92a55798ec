"""Adapters of instance detectors, whose masks the order networks take as input.

========================  ======================================================================
"zoo:NAME", or NAME       a model of the model zoo
"torchvision"             maskrcnn_resnet50_fpn_v2 of torchvision; another model as
                          "torchvision:maskrcnn_resnet50_fpn"
"detectron2:CONFIG"       a model of Detectron2's model zoo, such as
                          "detectron2:COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
"FILE.yaml"               a configuration of Detectron2, or of a project that extends it
"FILE.py"                 a LazyConfig of Detectron2, which is Python code and is executed
any other file or folder  results in a format of :mod:`occ_order.formats.user_masks`
a function                uint8 (H, W, 3) RGB -> masks in a form of :mod:`occ_order.formats.given`
========================  ======================================================================

Each is a row of `occ_order.detectors.registry.ADAPTERS`; `build_detector` there builds it. PyTorch
is imported only by the adapters that need it.
"""
