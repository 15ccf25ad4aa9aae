"""What a run was made with: versions, code revision and hardware, as plain values."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overfit_lab import __version__

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "openTSNE", "pyautoattack", "pyhessian")
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX_BF16"}
"""Flags of x86 by which Linux says how fast numbers are multiplied, and the names of their instruction sets."""


def now() -> str:
    """The time now in UTC, to the second (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def machine() -> str:
    """A mark of this machine since it was started, which says nothing about it: 8 hexadecimal digits."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    return hashlib.sha256(f"{socket.gethostname()} {boot}".encode()).hexdigest()[:8]


def versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that numbers depend on."""
    numbers = {"overfit-lab": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            numbers[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return numbers


def git_revision() -> str | None:
    """The commit of the checkout this package runs from, with ``+changes`` where files differ; None elsewhere."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def processor() -> str:
    """The CPU's name, as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@cache
def instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """The CPU's instruction sets for products, such as ``("AVX2", "AVX512")``; empty where the system does not say."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return tuple(name for flag, name in INSTRUCTIONS.items() if flag in flags)


def hardware(device: torch.device) -> dict[str, Any]:
    """The device that a run is on."""
    import torch

    names: dict[str, Any] = {"cpu": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        names["gpu"] = torch.cuda.get_device_name(device)
    if instructions():
        names["instructions"] = " ".join(instructions())
    names["system"] = f"{platform.system()} {platform.machine()}"
    return names


def command() -> str:
    """The command line of this process, the program by its name alone."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
