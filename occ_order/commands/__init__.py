"""What the verbs of `occ-order` do: modules with a function `run(options)`.

:mod:`occ_order.cli` defines the arguments, and imports a module of this package only when its verb
is asked for.
"""
