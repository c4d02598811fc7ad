import subprocess
import sys
from pathlib import Path


def test_types_fit():
    """`ty check`, which CONTRIBUTING.md names; what it checks is in pyproject.toml."""
    command = [sys.executable, "-m", "ty", "check", "--python", sys.prefix]
    done = subprocess.run(
        [*command, "--output-format", "concise"],
        cwd=Path(__file__).parents[1], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
