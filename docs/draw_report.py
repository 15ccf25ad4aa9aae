"""Take docs/images/report.png, a page on reference runs in an installed Chromium. `python docs/draw_report.py`."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from overfit_lab.records.reader import find_runs
from overfit_lab.views.report.page import make_report

ROOT = Path(__file__).parents[1]
METHODS = ("hard", "smooth", "sglr")
RUNS = [ROOT / f"runs/reference/cifar10-small-{labels}-seed{seed}" for labels in METHODS for seed in range(3)]
WIDTH, HEIGHT, GAP = 1120, 960, 24
VIEWS = (("light", "summary", 110), ("dark", "curves", 70))
"""Colours of each half of the picture, the section that it shows, and how much above it."""


def view(browser: Browser, page_path: Path, scheme: str, section: str, above: int) -> Image.Image:
    """What a browser shows around the head of a section."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce")
    page.goto(page_path.as_uri())
    page.evaluate(f"scrollTo(0, document.getElementById('{section}').offsetTop - {above})")
    if section == "curves":
        page.hover("[data-chart=robust-test]", position={"x": 340, "y": 100})
    page.wait_for_timeout(300)
    return Image.open(io.BytesIO(page.screenshot()))


def draw() -> Image.Image:
    """The two views beside each other."""
    picture = Image.new("RGB", (2 * WIDTH + GAP, HEIGHT), "white")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder) / "report.html"
        path.write_text(make_report(find_runs(RUNS)), encoding="utf-8")
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for i, (scheme, section, above) in enumerate(VIEWS):
            picture.paste(view(browser, path, scheme, section, above), (i * (WIDTH + GAP), 0))
        browser.close()
    return picture.resize((picture.width * 2 // 3, picture.height * 2 // 3), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(Path(__file__).with_name("images") / "report.png", optimize=True)
