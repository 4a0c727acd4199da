"""A finding as a line: coloured on a terminal, one line however long elsewhere."""

from rich.console import Console
from rich.text import Text

from service.doctor.findings import Finding

_STYLES = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}


def show(finding: Finding) -> None:
    found = finding.verdict
    line = Text.assemble((f"{found.status:<8}", _STYLES[found.status]), f"{finding.check:<13} ")
    line.append(found.message)
    if found.remedy is not None:
        line.append(f" → {found.remedy}")
    Console(highlight=False).print(line, soft_wrap=True)
