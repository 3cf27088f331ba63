"""This machine: room for the embedded servers' data."""

import shutil
from pathlib import Path

from engagement_stream.doctor.examination import Examination

_LEAST_BYTES = 1_000_000_000
_LITTLE_BYTES = 5_000_000_000


def check(data_dir: Path) -> Examination:
    """Free space where the data lies (or will lie)."""
    of = Examination()
    place = data_dir.absolute()
    while not place.exists():
        place = place.parent
    judge(of, data_dir, shutil.disk_usage(place).free)
    return of


def judge(of: Examination, data_dir: Path, free_bytes: int) -> None:
    """Pure."""
    of.saw(f"{free_bytes / 1e9:.1f} GB free for {data_dir}")
    where = f"df -h {data_dir}   and free some space, or set ENGAGEMENT_DATA_DIR to a directory on another disk"
    if free_bytes < _LEAST_BYTES:
        of.error(f"only {free_bytes / 1e6:.0f} MB are free on the disk of {data_dir}; the servers need 1 GB", where)
    elif free_bytes < _LITTLE_BYTES:
        of.warning(f"{free_bytes / 1e9:.1f} GB are free on the disk of {data_dir}; Kafka keeps 7 days of events", where)
