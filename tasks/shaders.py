"""The shader pack of the window camera: SAPIEN's ``default`` one, cut down to what an observation needs.

``default`` fills 18 targets and lights every pixel; an observation needs one, and only where robot or objects show. So
the pack keeps the geometry and the lighting pass and drops transparency, lines, points and all that only feeds other
targets. The arithmetic of the pixels that stay is untouched: they equal ``default``'s to the last bit, at a third of
its time. It is made from the installed SAPIEN's own files by the edits below, which fit the pinned version.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path

from vlagen.assets.errors import VlagenError

PICTURE = "Picture"
"""The target, float32: RGB from 0 to 1 with alpha 1 on the foreground, else all 0."""

BACKGROUND = "BACKGROUND"
"""The camera property that holds the segmentation id of the body that hides others but does not show itself."""

_KEPT = (
    *("gbuffer.vert", "deferred.vert", "shadow.vert"),
    *("camera_set.glsl", "material_set.glsl", "object_set.glsl", "scene_set.glsl"),
)


def geometry_shader(text: str) -> str:
    """``default``'s ``gbuffer.frag`` with only the targets that lighting reads.

    The fewer, the faster: emission goes into the spare channels of the others, and a normal of 0 marks the background.
    Raises ``VlagenError`` when the text is not the one that this was written for.
    """
    text = _without(text, ("outPositionRaw", "outCustom", "outSegmentation", "out vec4 outEmission"))
    text = _replaced(text, "outEmission = materialBuffer", "vec4 outEmission = materialBuffer")
    text = _replaced(text, "void main() {", f"layout(constant_id = 0) const int {BACKGROUND} = 0;\n\nvoid main() {{")
    last = "outNormal.xyz = faceforward(outNormal.xyz, inPosition.xyz, outNormal.xyz);\n"
    added = f"""
  outEmission.rgb *= outEmission.a;
  outAlbedo.a = outEmission.r;
  outSpecular.a = outEmission.g;
  outNormal.a = outEmission.b;
  if (inSegmentation.y == uint({BACKGROUND})) {{
    outNormal = vec4(0);
  }}
"""
    return _numbered(_replaced(text, last, last + added), r"(?<=layout\(location = )\d+(?=\) out)")


def lighting_shader(text: str) -> str:
    """``default``'s ``deferred.frag`` for the foreground only, with the gamma of its composition pass.

    Raises ``VlagenError`` when the text is not the one that this was written for.
    """
    unused = ("samplerPositionRaw", "samplerCustom", "uniform sampler2D samplerEmission", "vec4 emission = ")
    text = _without(text, unused).replace("outLighting", f"out{PICTURE}")
    skip = f"""
  if (texture(samplerNormal, inUV).xyz == vec3(0)) {{
    out{PICTURE} = vec4(0);
    return;
  }}
"""
    text = _replaced(text, "void main() {", "void main() {" + skip)
    emission = ", ".join(f"texture(sampler{name}, inUV).a" for name in ("Albedo", "Specular", "Normal"))
    text = _replaced(text, "vec3 color = emission.rgb * emission.a;", f"vec3 color = vec3({emission});")
    shown = f"out{PICTURE} = clamp(vec4(pow(color, vec3(1 / 2.2)), 1), vec4(0), vec4(1));"
    text = _replaced(text, f"out{PICTURE} = vec4(color, 1);", shown)
    return _numbered(text, r"(?<=layout\(set = 2, binding = )\d+")


def _without(text: str, names: Sequence[str]) -> str:
    """The lines that mention none of these names, each of which must occur."""
    for name in names:
        if name not in text:
            raise _unfit(name)
    return "".join(line for line in text.splitlines(keepends=True) if not any(name in line for name in names))


def _replaced(text: str, old: str, new: str) -> str:
    if text.count(old) != 1:
        raise _unfit(old)
    return text.replace(old, new)


def _numbered(text: str, pattern: str) -> str:
    """Matches of the pattern, in their order, become 0, 1, 2, ...: SAPIEN wants slots without gaps."""
    numbers = count()
    return re.sub(pattern, lambda _: str(next(numbers)), text)


def _unfit(passage: str) -> VlagenError:
    return VlagenError(
        f"SAPIEN's default shader lacks {passage.strip()!r}; install the version that pyproject.toml pins"
    )


def pack_files(default: Path) -> dict[str, str]:
    """The pack's files and those beside it that they include, by their path, from SAPIEN's ``default`` pack.

    Raises ``VlagenError`` when that is not the one that this was written for.
    """
    edits = {"gbuffer.frag": geometry_shader, "deferred.frag": lighting_shader}
    sources = [default / name for name in (*_KEPT, *edits)] + sorted((default.parent / "common").iterdir())
    texts = {source: source.read_text(encoding="utf-8") for source in sources}
    return {
        f"{'foreground' if source.parent == default else 'common'}/{source.name}": edits.get(source.name, str)(text)
        for source, text in texts.items()
    }


def stored(files: dict[str, str], root: Path) -> Path:
    """A folder in ``root`` that holds these files: one for all processes, whose name tells the content."""
    folder = root / f"vlagen-shaders-{sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]}"
    if _holds(folder, files):
        return folder
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=root))
    draft.chmod(0o755)
    for name, text in files.items():
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_text(text, encoding="utf-8")
    try:
        draft.rename(folder)
    except OSError:  # another process was faster, or what lies there is not ours to replace
        if not _holds(folder, files):
            return draft
        shutil.rmtree(draft)
    return folder


def _holds(folder: Path, files: dict[str, str]) -> bool:
    try:
        return all((folder / name).read_text(encoding="utf-8") == text for name, text in files.items())
    except (OSError, UnicodeDecodeError):
        return False


@cache
def foreground_pack() -> Path:
    """Where the pack is, in the folder for temporary files; SAPIEN looks there for each new camera."""
    import sapien

    files = pack_files(Path(sapien.__file__).parent / "vulkan_shader" / "default")
    return stored(files, Path(tempfile.gettempdir())) / "foreground"
