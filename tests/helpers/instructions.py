"""Instructions that tests take for granted."""

from __future__ import annotations

from elodin_spark.fingerprints.runtimes import cpu

#: For 8-bit integers, of this CPU. Without them their networks run too, slower: what is tested of them is
#: tested anywhere.
INT8 = cpu.int8_instructions() or "none"
