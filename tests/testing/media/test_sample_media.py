"""Making media leaves the process that makes it as it was."""

import os
from pathlib import Path

import pytest

from detection_testing.media import sample_media


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no scheduling policies here")
@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() != 0, reason="only root is given real-time priority"
)
def test_an_encoder_that_asks_for_real_time_priority_leaves_none_behind(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)

    path = sample_media.make_video(tmp_path / "v.mp4", codec="libsvtav1", width=160, height=120)

    assert path.stat().st_size > 0
    assert os.sched_getscheduler(0) == before
