"""The main job: photographs, generated scenes and annotation to orders, scores and one HTML page.

:func:`occ_order.apps.main_job.job.run` does it all; `demo/main_job.py` is its command.

* `examples`: annotated images that go in.
* `photographs`: the order of given masks, by a model of the zoo.
* `network`: class map and oriented boundary of an image by a network, and the CRF on them, as in
  "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu, Veksler, Boykov).
* `second_stage`: that paper's experiment of Table 4 and Fig. 10: the maps are made from annotation,
  exact or damaged, so that what is measured is the CRF alone.
* `scores`, `drawings`, `sentences`, `job`: what is told of it.
"""
