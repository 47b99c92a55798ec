"""How well people agree, and how long they take.

What InstaOrder reports of its annotation (Lee & Park, CVPR 2022): "count", the number of people
asked about a pair until two said the same (Section 3.1); the shares of pairs by count, of which
those "accepted by the first two annotators" were 81 % for occlusion and 75.4 % for depth (Fig. 4b);
and seconds for an answer, on average 2.68 and 5.05 (supplement, A3.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import mean, median
from typing import Any

from occ_order.apps.annotate.answers import UNCLEAR, Answer, settle


def task_agreement(said: Iterable[Mapping[str, Any]], *, agree: int = 2) -> dict[str, Any]:
    """Agreement about one task.

    Args:
        said: for each pair, what each person says, in the order in which they were asked.
        agree: how many must say the same.

    Returns:
        "pairs" with an answer; "settled" ones, "unclear" ones among them (people agree that nobody
        can tell); "count": number of settled pairs by the number of people asked, which is "count"
        of the data set; "first_agree": share of settled pairs among those that as many people as
        must agree have answered at least, settled by these first ones; "pairwise": share of every
        two answers about the same pair that are equal. A share of nothing is None.
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
    """Share of what others say about the same pairs that a person says, too; None: no others."""
    equal = [
        value == values[name]
        for values in said
        if name in values
        for other, value in values.items()
        if other != name
    ]
    return mean(equal) if equal else None


def seconds_per_answer(turns: Sequence[Sequence[Answer]]) -> float | None:
    """Median seconds of a person's answers about one pair; None where none was timed.

    The median, since somebody who leaves the page open for an hour is no slower than before.

    Args:
        turns: answers that were sent together; each of them bears its share of the time.
    """
    seconds = [a.seconds for turn in turns for a in turn if a.seconds is not None]
    return median(seconds) if seconds else None
