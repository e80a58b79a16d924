"""What figures depend on: the machine and its file system."""

import os
import platform
from pathlib import Path
from typing import Any


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies on, "unknown" where nobody says."""
    best, found = -1, "unknown"
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return found
    resolved = folder.resolve()
    for line in lines:
        _, mount, kind = line.split()[:3]
        if resolved.is_relative_to(mount) and len(mount) > best:
            best, found = len(mount), kind
    return found


def machine() -> dict[str, Any]:
    """Return the processor, its cores that we may use, and the system."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(
                (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")),
                name,
            )
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": name,
        "cores": cores,
        "system": f"{platform.system()} {platform.release()}",
    }
