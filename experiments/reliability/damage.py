"""Write `damage.md`: every kind of file against every kind of damage.

    python experiments/reliability/damage.py

What is written is what happened; `tests/reliability` compares it with what should.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.reliability.damage import find_outcome, list_cells

_MARKS = {"refused": "—", "read alike": "alike", "read otherwise": "otherwise"}


def main() -> None:
    """Damage, read, and write the table."""
    rows, kinds, count = {}, {}, 0
    for group, kind, name, damage in list_cells():
        with tempfile.TemporaryDirectory() as folder:
            outcome, _ = find_outcome(group, kind, damage, Path(folder))
        column = f"`{kind.name}`" + (" (verified)" if "verified" in group else "")
        kinds[column] = None
        rows.setdefault(name, {})[column] = _MARKS.get(outcome, outcome)
        count += 1
    lines = [
        f"# What {count} damaged files got",
        "",
        "    python experiments/reliability/damage.py",
        "",
        "`—`: refused in one sentence that names the file. *alike*: read, and the",
        "same as without damage. *counted*: said and counted, the rest is read.",
        "*otherwise*: read as something else, since the format has no checksum, or",
        "done again. Empty: does not apply.",
        "",
    ]
    lines += _tabulate(rows, list(kinds))
    path = Path(__file__).with_name("damage.md")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"Written: {path}")


def _tabulate(rows: dict, kinds: list[str]) -> list[str]:
    """Return a row a file, as damages are fewer."""
    damages = list(rows)
    lines = [
        "| file | " + " | ".join(damages) + " |",
        "| --- " * (len(damages) + 1) + "|",
    ]
    for kind in kinds:
        cells = [rows[damage].get(kind, "") for damage in damages]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
