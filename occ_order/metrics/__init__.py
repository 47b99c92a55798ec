"""Evaluation metrics on plain arrays, independent of any deep learning framework.

| module | metrics | unit |
|---|---|---|
| `occlusion` | recall / precision / F1, pair accuracy, direction of occlusion matrices | percent |
| `whdr` | weighted human disagreement rate of depth orders | percent |
| `depth` | KITTI errors, scale-and-shift, correlation, DIW | metres / ratios; DIW percent |
| `oair` | occlusion accuracy against instance recall; instances in cycles | fractions; percent |
| `coverage` | weighted coverage of instances | fraction |
| `boundary` | ODS / OIS / AP of oriented boundaries | fractions |
| `amodal` | AP / AR of masks by class, occlusion band, things / stuff; order by regions | percent |
| `calibration` | calibration of detection scores | percent |
| `matching` | mask IoU, greedy one-to-one matching | |
| `orders` | occlusion and depth order of matched instances | percent |
| `input_masks` | all metrics of the order of input masks | percent |
| `given_amodal` | amodal masks predicted for modal input masks | percent |
| `scorer` | base class of the scorers | |
| `sums` | sums and records of images, of which scorers consist | |
| `report` | all metrics that a data set and a results file allow | percent |

Each metric has a scorer with `update(truth, prediction)` per image and `compute()` at the end, used
by evaluators, `occ-order score` and reports, and an equivalent function of lists. Scorers keep sums
instead of images and can be merged (`merge(other)`), with the same scores whatever the parts.
"""

from occ_order.metrics.amodal import (
    AmodalAPScorer,
    ClassAPScorer,
    InvisibleScorer,
    PairOrderScorer,
    amodal_scores,
    class_scores,
    invisible_scores,
    occlude_rate,
    region_order_accuracy,
)
from occ_order.metrics.boundary import BoundaryScorer, boundary_scores
from occ_order.metrics.coverage import CoverageScorer, mean_weighted_coverage, weighted_coverage
from occ_order.metrics.depth import (
    DEPTH_ERRORS,
    DepthMapScorer,
    DIWScorer,
    align_scale_shift,
    aligned_depth,
    depth_errors,
    disparity_correlation,
    disparity_to_depth,
    diw_relation,
    diw_whdr,
    mean_depth_errors,
)
from occ_order.metrics.given_amodal import GivenAmodalScorer
from occ_order.metrics.input_masks import GivenMaskScorer, given_mask_row, given_mask_scores
from occ_order.metrics.matching import mask_iou, match_greedy, match_greedy_sweep
from occ_order.metrics.oair import (
    IOU_THRESHOLDS,
    CycleScorer,
    OAIRScorer,
    oair,
    oair_by_confidence,
    percent_in_cycles,
)
from occ_order.metrics.occlusion import direction_accuracy, occlusion_scores, pair_accuracy
from occ_order.metrics.orders import OrderScorer, order_pairs, pair_counts
from occ_order.metrics.report import evaluate_results
from occ_order.metrics.scorer import Scorer
from occ_order.metrics.whdr import WHDR_CELLS, DisparityOrderScorer, whdr

__all__ = [
    "DEPTH_ERRORS",
    "IOU_THRESHOLDS",
    "WHDR_CELLS",
    "AmodalAPScorer",
    "BoundaryScorer",
    "ClassAPScorer",
    "CoverageScorer",
    "CycleScorer",
    "DIWScorer",
    "DepthMapScorer",
    "DisparityOrderScorer",
    "GivenAmodalScorer",
    "GivenMaskScorer",
    "InvisibleScorer",
    "OAIRScorer",
    "OrderScorer",
    "PairOrderScorer",
    "Scorer",
    "align_scale_shift",
    "aligned_depth",
    "amodal_scores",
    "boundary_scores",
    "class_scores",
    "depth_errors",
    "direction_accuracy",
    "disparity_correlation",
    "disparity_to_depth",
    "diw_relation",
    "diw_whdr",
    "evaluate_results",
    "given_mask_row",
    "given_mask_scores",
    "invisible_scores",
    "mask_iou",
    "match_greedy",
    "match_greedy_sweep",
    "mean_depth_errors",
    "mean_weighted_coverage",
    "oair",
    "oair_by_confidence",
    "occlude_rate",
    "occlusion_scores",
    "order_pairs",
    "pair_accuracy",
    "pair_counts",
    "percent_in_cycles",
    "region_order_accuracy",
    "weighted_coverage",
    "whdr",
]
