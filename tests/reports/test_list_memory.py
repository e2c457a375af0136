"""Lists of eight times as many patients take no more memory: each format in a process of its own, its peak measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from recommender.reports.lists import FORMATS

PEAK = """
import resource, sys
from jobs.__main__ import main
try:
    main(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("fmt", FORMATS)
def test_eight_times_as_many_patients_take_no_more_memory(hospital, tmp_path, fmt):
    """A hospital's patients once and 8 times over: 400 and 3,200 pages."""
    environment = {
        **os.environ,
        "REDIS_URL": hospital.settings.redis_url,
        "RXREC_WORKDIR": str(hospital.settings.workdir),
    }
    peaks = {}
    for times in (1, 8):
        out, script = tmp_path / f"list{times}", tmp_path / "peak.py"
        script.write_text(f"TIMES = {times}\n{AGAIN}{PEAK}")
        words = ["--json", "report", "patients", "--out", str(out), "--format", fmt]
        done = subprocess.run([sys.executable, str(script), *words], env=environment, capture_output=True, check=True)
        assert json.loads(done.stdout)["patients"] == 400 * times
        peaks[times] = int(done.stderr.split()[-1])
    assert peaks[8] < 1.15 * peaks[1], peaks


AGAIN = """
import recommender.reports.lists as lists
once = lists.members
def again(*words):
    for _ in range(TIMES):
        yield from once(*words)
lists.members = again
"""
