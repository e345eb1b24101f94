"""Logs to one page: tables, figures and answers, without any network."""

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from em_evals.analysis.report.data import Report, build, rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "build", "rows", "write_figures", "write_page"]


def write_page(report: Report, frame: "pd.DataFrame", out: Path, command: str = "") -> None:
    """Write the report as one HTML file that needs nothing else.

    Args:
        report: From `build`.
        frame: The frame that it was built of; the headers of its logs are read for the provenance.
        out: The file; replaced if it exists.
        command: What made the report, as the page states it.
    """
    from dataclasses import replace

    from em_evals.analysis.report.html import page
    from em_evals.analysis.report.provenance import origins

    whole = replace(
        report,
        origins=origins(frame),
        command=command,
        version=importlib.metadata.version("em-evals"),
    )
    out.write_text(page(whole), encoding="utf-8")


def write_figures(
    report: Report, folder: Path, suffix: Literal["svg", "png"] = "svg"
) -> list[Path]:
    """Write every figure of the report into a folder, and say which files.

    Args:
        report: From `build`.
        folder: Made if need be; files of the same names are replaced.
        suffix: The format.
    """
    from em_evals.analysis.report.html import save

    return save(report, folder, suffix)
