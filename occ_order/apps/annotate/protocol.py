"""How a data set is asked about: what is left out, in which order, and who may answer."""

from __future__ import annotations

from dataclasses import dataclass

from occ_order.apps.annotate.answers import TASKS

PAIRS = ("touching", "all")


@dataclass(frozen=True)
class Protocol:
    """The rules of asking; `INSTAORDER` has those of the InstaOrder data set.

    Attributes:
        tasks: what is asked: "occlusion", "depth" or both.
        ranges: whether a depth answer says if the two ranges of depth are apart or overlap.
        pairs: "touching": pairs whose masks overlap or border; "all": every pair of an image.
        gap: most pixels between masks that count as touching; annotated masks leave a few free.
        agree: how many people must say the same; the paper's 2, or 1 for somebody alone.
        min_size: instances whose mask has fewer pixels than the square of this are left out.
        max_instances: of more instances in an image, so many are drawn at random.
        shuffle: whether each annotator has an order of images and pairs of their own.
        guideline: whether the guideline is shown before the first question.
        whole_image: whether the page offers to order a whole image at once, which can say nothing
            about ranges and is not offered where these are asked.
        quiz_share: share of the quiz that must be right; whoever has less is dismissed.
        seed: of the draw of instances and of the shuffling.

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
        """Whether a whole image can be ordered at once."""
        return self.whole_image and not (self.ranges and "depth" in self.tasks)


INSTAORDER = Protocol(
    ranges=True, pairs="all", min_size=25, shuffle=True, guideline=True, whole_image=False
)
"""Lee & Park (CVPR 2022): instances smaller than 25 x 25 pixels are omitted, two workers and more
until two agree, all quizzes passed (3.1), ten instances of an image (3.3), a guideline and an order
of images shuffled for each annotator (supplement A3.2)."""

PROTOCOLS = {"quick": Protocol(), "instaorder": INSTAORDER}
