"""The one limit on time in tests."""

from __future__ import annotations

#: What hangs is ended after this, seconds. No test fails for a clock: nothing takes a tenth of it on a
#: machine that is slow, or busy with something else.
HANG_S = 3600
