"""Take the README's pictures of the page, of synthetic radiographs only.

    python export/web/screenshots.py SITE

`SITE` is what `build.py` made of a trained model. Needs Chromium and playwright.
"""

import argparse
import functools
import http.server
import threading
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
QUALITY = 88  # of WebP


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def take(
    browser: Browser,
    address: str,
    name: str,
    size: tuple[int, int],
    *,
    scheme: str = "light",
    scale: float = 1,
    example: int | None = None,
    finding: str | None = None,
) -> None:
    """Take one picture.

    Args:
        browser: running.
        address: of the page.
        name: of the picture.
        size: `(width, height)` of the window, in CSS pixels.
        scheme: `"light"` or `"dark"`.
        scale: pixels of the picture a CSS pixel.
        example: number of the example to open, from 1 on; none for the start page.
        finding: pathology to choose.
    """
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        device_scale_factor=scale,
    )
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Ready.").wait_for()
    if example is not None:
        page.locator("#examples button").nth(example - 1).click()
        page.locator("#details").wait_for()
    if finding is not None:
        page.locator(f"input[value={finding}]").check(force=True)
        page.evaluate("document.activeElement.blur()")
    page.locator("#examples img").first.evaluate("image => image.decode()")
    page.wait_for_timeout(300)
    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.webp"
    cv2.imwrite(str(path), shot, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site
    handler = functools.partial(Handler, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=FLAGS
        )
        shoot = functools.partial(take, browser, address)
        shoot("start", (1280, 800), scheme="dark")
        shoot("desktop", (1280, 860), example=1)
        shoot("dark", (1280, 860), scheme="dark", example=2)
        shoot("phone", (390, 844), scale=1.5, example=2)
        browser.close()
    server.shutdown()


if __name__ == "__main__":
    main()
