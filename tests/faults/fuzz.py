"""Coverage-guided fuzzing of the parsers by command: `make fuzz SECONDS=60 TARGET=all`. Not part of the tests.

Each target runs as a process of its own, from valid examples and from what earlier runs found worth keeping
(`build/fuzz/TARGET/corpus`). An input that breaks a promise, takes too long or too much memory is written to
`build/fuzz/TARGET` and the command fails; `fuzz.py --target TARGET FILE` runs it again. The promises are in
`fuzz_targets.py`, which the ordinary tests run as well.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

NAMES = ("ndjson", "csv", "flow", "settings", "instants", "proof", "checkpoint")
FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
LONGEST_INPUT = 4096
MOST_SECONDS_PER_INPUT = 30
MOST_MEMORY_MB = 1536
_NUMBERS = {"runs": r"stat::number_of_executed_units:\s*(\d+)", "memory_mb": r"stat::peak_rss_mb:\s*(\d+)"}
_COVERAGE = r"cov: (\d+)"


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="all", choices=("all", *NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("inputs", nargs="*", type=Path, help="inputs to run once, without fuzzing")
    chosen = parser.parse_args()
    if chosen.inputs:
        return _run_again(chosen.target, chosen.inputs)
    if chosen.within:
        _fuzz(chosen.target, chosen.seconds)
    names = NAMES if chosen.target == "all" else (chosen.target,)
    failed = [name for name in names if _in_process(name, chosen.seconds)]
    return int(bool(failed))


def _run_again(name: str, inputs: list[Path]) -> int:
    from fuzz_targets import TARGETS

    for path in inputs:
        TARGETS[name].check(path.read_bytes())
        print(f"{path}: all promises kept")
    return 0


def _in_process(name: str, seconds: int) -> bool:
    """Fuzz one target; whether it failed. Its last words are shown only then."""
    folder = FOLDER / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    print(f"{name}: {seconds} seconds ...", flush=True)
    started = time.monotonic()
    command = [sys.executable, __file__, "--within", "--target", name, "--seconds", str(seconds)]
    quiet = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "log.txt").open("wb") as log:
        code = subprocess.run(command, env={**os.environ, **quiet}, stdout=log, stderr=log, check=False).returncode
    text = (folder / "log.txt").read_text(encoding="utf-8", errors="replace")
    facts = {label: re.findall(pattern, text)[-1:] for label, pattern in _NUMBERS.items()}
    facts["coverage"] = re.findall(_COVERAGE, text)[-1:]
    told = ", ".join(f"{label} {found[0]}" for label, found in facts.items() if found)
    print(f"{name}: {told}, {time.monotonic() - started:.0f} seconds, {'FAILED' if code else 'nothing found'}")
    if code:
        print("\n".join(text.splitlines()[-40:]), f"\nThe input and the log are in {folder}")
    return bool(code)


def _fuzz(name: str, seconds: int) -> None:
    """Fuzz in this process, which ends here."""
    import atheris

    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["clearwell", "ruamel", "json"]):
        from fuzz_targets import TARGETS
    target, folder = TARGETS[name], FOLDER / name
    for number, seed in enumerate((*target.seeds, *target.found)):
        (folder / "corpus" / f"seed-{number:03d}").write_bytes(seed)
    words = folder / "words.txt"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
    options = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT,
        "timeout": MOST_SECONDS_PER_INPUT,
        "rss_limit_mb": MOST_MEMORY_MB,
        "artifact_prefix": f"{folder}/",
        "dict": words,
        "print_final_stats": 1,
    }
    atheris.Setup([name, *(f"-{key}={value}" for key, value in options.items()), str(folder / "corpus")], target.check)
    atheris.Fuzz()


def _escaped(word: str) -> str:
    """A word as libFuzzer reads it in a dictionary."""
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


if __name__ == "__main__":
    sys.exit(main())
