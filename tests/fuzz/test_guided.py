"""Minutes of coverage-guided fuzzing for each target, from seeds that real clients would send."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.targets import TARGETS

SECONDS: Final = 120
ROOT: Final = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in_two_minutes(target: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(TARGETS[target].seeds()):
        (corpus / str(number)).write_bytes(seed)
    command = [sys.executable, "-m", "tests.fuzz.guided", target, str(corpus)]
    command += [f"-max_total_time={SECONDS}", f"-artifact_prefix={tmp_path}/"]
    command += ["-max_len=4096", "-timeout=30", "-rss_limit_mb=2048"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, errors="replace", timeout=SECONDS * 5
    )
    end = done.stderr[-3000:]  # a finding stands there in base64
    assert done.returncode == 0, end
    runs = re.search(r"Done (\d+) runs", end)
    assert runs is not None, end
    print(f"{target}: {runs[1]} runs")
    assert int(runs[1]) > 1000
