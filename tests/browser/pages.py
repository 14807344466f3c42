"""A browser for pages of this host alone, and the pictures that the user guide shows of them."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from PIL import Image, ImageOps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

#: What a browser on a loaded machine may take to draw a page, ms.
PATIENCE_MS = 90_000


@contextmanager
def browser_page(profile: Path) -> Iterator[Page]:
    """A page in a new browser that knows no host but this one; asking for another fails."""
    from playwright.sync_api import sync_playwright

    asked: set[str | None] = set()
    switches = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=[*switches.split(), "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
            viewport={"width": 1600, "height": 1050},
        )
        browser.set_default_timeout(PATIENCE_MS)
        browser.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        page = browser.new_page()
        page.on("websocket", lambda socket: asked.add(urlsplit(socket.url).hostname))
        yield page
        browser.close()
    assert asked - {None} == {"127.0.0.1"}  # None is the host of pictures inside the page


def save_picture(name: str, shown: bytes, dialog: bytes | None = None) -> None:
    """Keep a screenshot, a dialog beside what it hides, where ``UI_PICTURES`` names a folder."""
    folder = os.environ.get("UI_PICTURES")
    if not folder:
        return
    whole = Image.open(io.BytesIO(shown)).convert("RGB")
    if dialog is not None:
        small = ImageOps.expand(Image.open(io.BytesIO(dialog)).convert("RGB"), 2, "gray")
        whole.paste(small, (whole.width - small.width - 30, whole.height - small.height - 30))
    whole.quantize(128, dither=Image.Dither.NONE).save(Path(folder) / f"{name}.png", optimize=True)
