"""A toy evaluation to be killed: ``python -m tests.benchmark.kill_target OUT '{"workers": 2}'``."""

import json
import sys
from pathlib import Path

from tests.benchmark import toys

if __name__ == "__main__":
    toys.evaluate(Path(sys.argv[1]), episodes=8, **json.loads(sys.argv[2]))
