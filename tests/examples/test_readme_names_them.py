"""The README's table of examples is the folder's, and its commands are those that each example names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_every_example_is_in_the_readme_with_its_command() -> None:
    """No example is left out or misnamed; what the README says to run stands in the example's own first lines."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| `(uv run [^`]+)` \|$", text, re.MULTILINE))
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert set(rows) == folders
    for folder, command in rows.items():
        own = ROOT / "examples" / folder / ("manage.py" if folder == "django_project" else "app.py")
        said = own.read_text("utf-8").partition('"""')[2].partition('"""')[0]
        assert command in said.replace(f"examples/{folder}/app.py", "app.py"), folder
