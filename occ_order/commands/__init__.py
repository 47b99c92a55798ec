"""Implementation of the verbs of `occ-order`: modules with a function `run(options)`.

:mod:`occ_order.cli` defines the arguments and imports only the module of the verb that is run.
"""
