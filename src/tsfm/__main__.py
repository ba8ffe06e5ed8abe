"""python -m tsfm: the same as the command tsfm."""

import sys

from tsfm.cli.main import main

sys.exit(main())
