"""`python -m grantledger.projections.verify`, where nothing is installed."""

import sys

from grantledger.projections.verify.command import main

if __name__ == "__main__":
    sys.exit(main())
