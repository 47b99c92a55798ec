"""Timings of our code beside stated baselines, one module each; `occ-order bench` runs them.

A module has `rows(options)`: a list of dictionaries (or a generator, whose rows are printed at
once) {"case", "ours_s", "baseline_s", "ratio"}, the last two where there is a baseline, with
further keys where it likes; and perhaps `summary(rows)`, a text to print below the table. Its
options stand in :mod:`occ_order.cli.bench`.
"""
