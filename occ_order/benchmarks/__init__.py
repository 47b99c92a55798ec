"""Benchmarks of this package against stated baselines, one module each; see `occ-order bench`.

A module defines `rows(options)`, a list or generator of dictionaries {"case", "ours_s",
"baseline_s", "ratio"}, the last two only with a baseline, and optional further keys; rows of a
generator are printed immediately. It may define `summary(rows)`, a text that is printed below the
table. The command-line options are defined in :mod:`occ_order.cli.bench`.
"""
