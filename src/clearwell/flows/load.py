"""Loads a model from flow files, or from their stored texts; the result depends on the texts alone.

`read_flow_files` is the only function of this package that touches a disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clearwell.errors import DataError, UsageError
from clearwell.flows.check import check_model
from clearwell.flows.declarations import read_flow
from clearwell.flows.document import LARGEST_FILE_BYTES
from clearwell.flows.model import Model, model_version
from clearwell.flows.problems import Problem, Reporter
from clearwell.flows.resolve import resolve_flows


def load_model(texts: Mapping[str, str]) -> tuple[Model | None, list[Problem]]:
    """Return the model of these flow files (file name to text), and the problems by file and line.

    The model is None when a problem is an error; warnings leave it usable. What can be filled and drained is
    asked only when all else is right, so that a mistake is not reported again by its consequences.
    """
    problems: list[Problem] = []
    declared = []
    for file, text in sorted(texts.items()):
        reporter = Reporter(file, problems)
        flow = read_flow(text, reporter)
        if flow is not None:
            declared.append(flow)
    flows = resolve_flows(declared, problems)
    if not problems:
        problems.extend(check_model(flows))
    problems.sort()
    if any(problem.severity == "error" for problem in problems):
        return None, problems
    return Model(flows, model_version((flow.name, flow.text_hash) for flow in flows)), problems


def read_flow_files(folder: Path) -> dict[str, str]:
    """Return the texts of the flow files (`*.yaml`, `*.yml`) directly in a folder, by `FOLDER/FILE`, sorted.

    Raises UsageError (`flow_folder_missing`, `flow_files_missing`) and, for a file that is too large or not
    UTF-8, DataError (`flow_file_unreadable`).
    """
    if not folder.is_dir():
        raise UsageError("flow_folder_missing", f"expected a folder of flow files at {folder}, found none")
    files = sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"} and path.is_file())
    if not files:
        raise UsageError("flow_files_missing", f"expected flow files (*.yaml) in {folder}, found none")
    return {f"{folder.name}/{path.name}": _read_text(path) for path in files}


def _read_text(path: Path) -> str:
    size = path.stat().st_size
    if size > LARGEST_FILE_BYTES:
        message = f"{path}: expected a flow file of at most {LARGEST_FILE_BYTES} bytes, found {size}"
        raise DataError("flow_file_unreadable", message)
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte 0x{error.object[error.start]:02x} at {error.start}"
        message = f"{path}: expected a flow file in UTF-8, found {found}"
        raise DataError("flow_file_unreadable", message) from None
