"""Where the project and the shared data are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Real images beside the checkout; tests that need them skip where it is absent.
DATA = ROOT.parent / "shared" / "data"
