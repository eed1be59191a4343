"""
``python -m txpusher``: the same as the command ``txpusher``.
"""

import sys

from txpusher._cli import main
from txpusher._server_options import DEFAULT_APP

__all__ = ["DEFAULT_APP", "main"]

if __name__ == "__main__":
    sys.exit(main())
