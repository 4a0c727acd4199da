"""The commands in docs/cli.md run, from top to bottom, as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path

from client_support import RunningService

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_every_block_of_the_page_runs(service: RunningService, tmp_path: Path) -> None:
    new, used = BLOCKS
    done = _shell(new, tmp_path, TRUTHTUNE_PORT="0")
    assert (tmp_path / "truthtune.env").is_file()
    assert "ok      operator_key  the operator has an API key" in done
    client = {"TRUTHTUNE_URL": service.url, "TRUTHTUNE_API_KEY": service.operator_key}
    assert '"name": "weavers"' in _shell(used, tmp_path, **client)


def _shell(block: str, folder: Path, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRUTHTUNE_")}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block],
        env=kept | {"PATH": path} | variables,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
