"""``python -m detection_operator`` and the console script ``detection-operator``."""

import sys

from detection_operator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
