"""Fails where a file or a function has grown too long to be read in one go."""

import ast
import subprocess
import sys
from pathlib import Path

MAX_FILE, MAX_FUNCTION = 450, 55


def faults(file: Path) -> list[str]:
    """What is too long in one Python file."""
    text = file.read_text(encoding="utf-8")
    lines = text.count("\n")
    found = [f"{file}: {lines} lines, at most {MAX_FILE}"] if lines > MAX_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                found.append(f"{file}:{node.lineno} {node.name}: {length} lines, at most {MAX_FUNCTION}")
    return found


def main() -> int:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.py"], capture_output=True, text=True, check=True
    )
    files = [Path(name) for name in listed.stdout.splitlines() if Path(name).exists()]
    found = [fault for file in files for fault in faults(file)]
    sys.stdout.write("".join(f"{fault}\n" for fault in found) or f"sizes: {len(files)} files within bounds\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
