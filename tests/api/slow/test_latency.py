"""A hook is answered long before a clinician would notice: 200 calls on the synthetic hospital of 3,000 patients."""

import numpy as np
import pytest

from benchmarks.hooks import measured

pytestmark = pytest.mark.slow


def test_a_hook_takes_far_less_than_half_a_second() -> None:
    """CDS Hooks asks for 500 ms. The processor's time is what this program decides; a busy machine adds waiting."""
    took = measured(patients=3_000, calls=200)
    for what, times in took.items():
        passed, worked = np.percentile(times, 50, axis=0)
        assert worked < 100, (what, worked)
        assert passed < 500, (what, passed)
    assert np.percentile(took["order-select, prefetch"][:, 1], 99) < 100
