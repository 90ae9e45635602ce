"""`python -m gateway` is `posturegate`."""

import sys

from gateway.cli import main

sys.exit(main())
