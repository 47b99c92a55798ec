"""Annotation protocols: which instances and pairs are asked, in which order, and who qualifies."""

from __future__ import annotations

from dataclasses import dataclass

from occ_order.apps.annotate.answers import TASKS

PAIRS = ("touching", "all")


@dataclass(frozen=True)
class Protocol:
    """Settings of an annotation project; `INSTAORDER` has those of the InstaOrder data set.

    Attributes:
        tasks: "occlusion", "depth" or both.
        ranges: whether a depth answer includes if the two depth ranges are distinct or overlap.
        pairs: "touching": pairs whose masks overlap or are adjacent; "all": every pair of an image.
        gap: maximum gap in pixels between touching masks; annotated masks often leave a few pixels.
        agree: number of equal answers that settle a pair; 2 in the paper, 1 for a single annotator.
        min_size: instances with fewer than `min_size` squared pixels are left out.
        max_instances: maximum number of instances per image; of more, a random sample is drawn.
        shuffle: whether each annotator has an order of images and pairs of their own.
        guideline: whether to show the guideline before the first question.
        whole_image: whether the page offers to order a whole image at once; not offered for depth
            with ranges, which such an order cannot express.
        quiz_share: share of quiz pairs that must be answered correctly; below it an annotator is
            dismissed.
        seed: random seed of the sampling and shuffling.

    Raises:
        ValueError: a value that is not allowed.
    """

    tasks: tuple[str, ...] = TASKS
    ranges: bool = False
    pairs: str = "touching"
    gap: int = 3
    agree: int = 2
    min_size: int = 0
    max_instances: int = 10
    shuffle: bool = False
    guideline: bool = False
    whole_image: bool = True
    quiz_share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.tasks or not set(self.tasks) <= set(TASKS):
            raise ValueError(f"tasks must be some of {TASKS}, got {self.tasks}")
        if self.pairs not in PAIRS:
            raise ValueError(f"pairs must be one of {PAIRS}, got {self.pairs!r}")
        for name, least in (("agree", 1), ("max_instances", 2), ("min_size", 0), ("gap", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be >= {least}, got {getattr(self, name)}")
        if not 0 <= self.quiz_share <= 1:
            raise ValueError(f"quiz_share must be in 0 .. 1, got {self.quiz_share}")

    @property
    def offers_whole_image(self) -> bool:
        """Whether the page offers to order a whole image at once."""
        return self.whole_image and not (self.ranges and "depth" in self.tasks)


INSTAORDER = Protocol(
    ranges=True, pairs="all", min_size=25, shuffle=True, guideline=True, whole_image=False
)
"""Protocol of Lee & Park (CVPR 2022): instances smaller than 25 x 25 pixels are omitted, annotators
are asked until two agree, all quizzes must be passed (3.1), at most ten instances per image (3.3),
a guideline, and images shuffled for each annotator (supplement A3.2)."""

PROTOCOLS = {"quick": Protocol(), "instaorder": INSTAORDER}
