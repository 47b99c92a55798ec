"""Inter-annotator agreement and annotation time.

The statistics that InstaOrder reports (Lee & Park, CVPR 2022): "count", the number of annotators
asked about a pair until two agreed (Section 3.1); the shares of pairs by count, of which
those "accepted by the first two annotators" were 81 % for occlusion and 75.4 % for depth (Fig. 4b);
and seconds per answer, on average 2.68 and 5.05 (supplement, A3.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import mean, median
from typing import Any

from occ_order.apps.annotate.answers import UNCLEAR, Answer, settle


def task_agreement(said: Iterable[Mapping[str, Any]], *, agree: int = 2) -> dict[str, Any]:
    """Compute the agreement of annotators on one task.

    Args:
        said: for each pair, annotator -> answer, in the order in which they were asked.
        agree: number of equal answers that settle a pair.

    Returns:
        Dict with the number of "pairs" that have an answer, of "settled" pairs, and of "unclear"
        ones among these (settled on "unclear"); "count": number of annotators asked -> number of
        settled pairs; "first_agree": of the pairs with at least `agree` answers, the share settled
        by the first `agree` of them; "pairwise": share of equal answers among all pairs of answers
        to the same question. A share of an empty set is None.
    """
    said = [values for values in said if values]
    results = [settle(values.values(), agree=agree) for values in said]
    count = Counter(asked for value, asked in results if value is not None)
    enough = sum(len(values) >= agree for values in said)
    equal = [a == b for values in said for a, b in combinations(values.values(), 2)]
    return {
        "pairs": len(said),
        "settled": sum(count.values()),
        "unclear": sum(value in (UNCLEAR, (UNCLEAR, None)) for value, _ in results),
        "count": {str(asked): count[asked] for asked in sorted(count)},
        "first_agree": count[agree] / enough if enough else None,
        "pairwise": mean(equal) if equal else None,
    }


def agreement_with_others(said: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return the share of other annotators' answers that equal those of annotator `name`.

    None if nobody else has answered about the same pairs.
    """
    equal = [
        value == values[name]
        for values in said
        if name in values
        for other, value in values.items()
        if other != name
    ]
    return mean(equal) if equal else None


def seconds_per_answer(turns: Sequence[Sequence[Answer]]) -> float | None:
    """Return the median time of an annotator per pair, in seconds; None if no answer was timed.

    The median, because a page that is left open for an hour would dominate the mean.

    Args:
        turns: submissions, each a list of answers sent together that share its time.
    """
    seconds = [a.seconds for turn in turns for a in turn if a.seconds is not None]
    return median(seconds) if seconds else None
