"""`python -m occ_order` is the command `occ-order`."""

import sys

from occ_order.cli import main

if __name__ == "__main__":
    sys.exit(main())
