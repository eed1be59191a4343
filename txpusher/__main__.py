"""
``python -m txpusher``: the same as the command ``txpusher``.
"""

import sys

from txpusher._cli import main

if __name__ == "__main__":
    sys.exit(main())
