"""Makes the library prometheus_scrape importable: the real one if present, or the stand-in."""

import pathlib
import sys

CHARM = pathlib.Path(__file__).parents[1]
REAL = CHARM / "lib"
STAND_IN = CHARM / "tests" / "stand_in"
IS_REAL = (REAL / "charms/prometheus_k8s/v0/prometheus_scrape.py").exists()

sys.path.insert(0, str(REAL if IS_REAL else STAND_IN))
