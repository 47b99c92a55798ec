"""The main demo: predict orders for photographs and generated scenes, score them, write a report.

:func:`occ_order.apps.main_job.job.run` is the entry point; `demo/main_job.py` is its command.

* `examples`: the annotated input images.
* `photographs`: order of input masks predicted by a model of the zoo.
* `network`: class map and oriented boundary predicted by a network, and the CRF on them, as in
  "Occlusion-Ordered Semantic Instance Segmentation" (Baselizadeh, Yu, Veksler, Boykov).
* `second_stage`: the experiment of that paper's Table 4 and Fig. 10: the maps are made from ground
  truth, exact or damaged, so that only the CRF is evaluated.
* `scores`, `drawings`, `sentences`, `job`: metrics, figures and text of the report.
"""
