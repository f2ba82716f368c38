"""The documentation's commands run, page by page, and print what the pages show. ``-k servers`` runs one page."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.docs_pages import Block, blocks, name
from tests.docs_running import PLAYED_PAGES, Bench
from vlagen.benchmark.simulator import NoRenderer, choose_render_backend

pytestmark = [pytest.mark.slow, pytest.mark.sim]

AT_A_TIME = 2
"""Pages; most commands keep one core busy."""


@pytest.fixture(scope="module")
def playing(request, tmp_path_factory):
    """Runs of the pages that were asked for, begun in their order."""
    for package in ("mani_skill", "transformers", "accelerate", "pyarrow", "ray"):
        pytest.importorskip(package)
    try:
        choose_render_backend()
    except NoRenderer as error:
        pytest.skip(str(error))
    bench = Bench(tmp_path_factory.mktemp("docs"))
    asked = [item.callspec.params["page"] for item in request.session.items if item.module is request.module]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        try:
            yield {page: pool.submit(bench.play, page) for page in asked}
        finally:
            bench.ended = True
            pool.shutdown(cancel_futures=True)


def shape(text: str) -> str:
    """A text without its numbers, widths and line ends."""
    return " ".join(re.sub(r"[−-]?\d+(\.\d+)?", "#", text).split())


def shown(block: Block) -> list[str]:
    """Lines that a block says are printed, of the doctor's what they are about; those that stand for others are not."""
    lines = [line for line in block.text.splitlines() if line.strip(" …─")]
    return [" ".join(line.split()[:2]) if line.startswith("ok ") else line for line in lines]


@pytest.mark.parametrize("page", PLAYED_PAGES, ids=name)
def test_what_a_page_says_works(page, playing):
    printed = shape(playing[page].result().printed)
    for block in blocks(page):
        if block.language == "text" and not block.text.startswith("$ "):
            for line in shown(block):
                assert shape(line) in printed, f"{name(page)} shows {line!r}, which is printed no more"
