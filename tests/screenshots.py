"""Pictures of a running dashboard: `python -m tests.screenshots http://localhost:8080/ FOLDER [SECONDS]`."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_VIEWS = [
    (language, scheme, name, width, height)
    for language in ("en", "ar")
    for scheme in ("light", "dark")
    for name, width, height in (("laptop", 1280, 800), ("phone", 390, 844))
]


def main(url: str, folder: Path, listen_s: float) -> None:
    """One picture a view; the page listens for `listen_s` first, so that its charts have something to show."""
    executable = shutil.which("chromium") or "chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(device_scale_factor=1)
        page = context.new_page()
        page.goto(url)
        page.wait_for_timeout(listen_s * 1000)
        for language, scheme, name, width, height in _VIEWS:
            if page.evaluate("document.documentElement.lang") != language:
                page.click("#language")
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of the two it knows
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(1500)
            page.screenshot(path=folder / f"dashboard-{language}-{scheme}-{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 300.0)
