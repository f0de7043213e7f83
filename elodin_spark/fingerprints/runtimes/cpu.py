"""What this machine can do: instruction sets of the CPU, and whether a GPU is there."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from elodin_spark.errors import ConfigError

#: Flags of Linux's /proc/cpuinfo, best first, of x86 and of Arm.
BF16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
INT8_FLAGS = ("amx_int8", "avx512_vnni", "avx_vnni", "i8mm", "asimddp")

#: What oneDNN, below TensorFlow and OpenVINO, uses at most where ONEDNN_MAX_CPU_ISA says so, and the flags
#: that are beyond each; names of its documentation ("CPU Dispatcher Control").
_BEYOND_AVX512 = ("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_")
BEYOND = {
    "SSE41": ("avx", "amx_"),
    "AVX": ("avx2", "avx_vnni", "avx512", "amx_"),
    "AVX2": ("avx_vnni", "avx512", "amx_"),
    "AVX2_VNNI": ("avx512", "amx_"),
    "AVX512_CORE": _BEYOND_AVX512,
    "AVX512_CORE_VNNI": _BEYOND_AVX512[1:],
    "AVX512_CORE_BF16": _BEYOND_AVX512[2:],
    "AVX512_CORE_FP16": _BEYOND_AVX512[3:],
}


def cpu_flags() -> frozenset[str]:
    """Instruction sets by their names on Linux; none are known elsewhere.

    Those beyond ``ONEDNN_MAX_CPU_ISA`` are left out: the networks do not use them.
    """
    beyond = BEYOND.get(os.environ.get("ONEDNN_MAX_CPU_ISA", "").strip().upper())
    flags = _flags_of_machine()
    return flags if beyond is None else frozenset(flag for flag in flags if not flag.startswith(beyond))


@cache
def _flags_of_machine() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def bf16_instructions() -> str | None:
    """Name of the instruction set for bfloat16, None without one."""
    return next((flag for flag in BF16_FLAGS if flag in cpu_flags()), None)


def int8_instructions() -> str | None:
    """Name of the instruction set for dot products of 8-bit integers, None without one."""
    return next((flag for flag in INT8_FLAGS if flag in cpu_flags()), None)


def gpu_visible() -> bool:
    """Whether this process may use an NVIDIA GPU of this machine; nothing is started."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1", "NoDevFiles"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*"))


def require_bf16() -> None:
    """Refuse bfloat16 on a CPU without its instructions.

    Raises
    ------
    ConfigError
        Emulated it would be slower than float32, and on some CPUs float32 would stand in for it:
        then the vectors of one catalog would not all be of one recipe.
    """
    if bf16_instructions() is None:
        raise ConfigError(
            "fingerprints.precision is bf16, but this CPU has no bfloat16 instructions (AMX, AVX512-BF16 or "
            "Arm's BF16): set fingerprints.precision=f32, or run on machines that have them"
        )
