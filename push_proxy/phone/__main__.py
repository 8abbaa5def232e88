"""`python -m push_proxy.phone`: the same as `push-proxy phone`."""

import sys

from .main import main

sys.exit(main())
