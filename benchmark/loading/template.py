"""Writes an adapter to start from."""

from __future__ import annotations

from pathlib import Path

from vlagen.assets.errors import VlagenError

TEMPLATE = Path(__file__).parents[1] / "adapters" / "template.py"


class CannotWrite(VlagenError, ValueError):
    """A place where no adapter can be written."""


def write_template(path: Path | str) -> Path:
    """Writes a commented adapter that runs as it is.

    Args:
        path: a new Python file, e.g. ``my_adapter.py``; the examples in it use its name.

    Returns:
        The path.

    Raises:
        CannotWrite: there is something already, the folder does not exist, or the name is no module's.
    """
    path = Path(path)
    if path.suffix != ".py" or not path.stem.isidentifier():
        example = (
            "".join(letter if letter.isalnum() else "_" for letter in path.stem).lstrip("0123456789") or "my_adapter"
        )
        raise CannotWrite(f"{path} is no name for a Python module; try {path.with_name(f'{example}.py')}")
    text = TEMPLATE.read_text(encoding="utf-8").replace("my_adapter", path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise CannotWrite(f"{path} is there already and is left as it is; give another name") from None
    except OSError as error:
        raise CannotWrite(f"{path} cannot be written: {error.strerror}") from error
    return path
