"""The report in a real browser, from disk: what moves, what sorts, what is read, and that nothing is loaded."""

import os
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from reports import END, IMG, MAP_EPOCHS

from overfit_lab.config import to_yaml
from overfit_lab.files.escape import for_terminal_lines
from overfit_lab.records.reader import Run, find_runs
from overfit_lab.views.report.chart import LEFT, RIGHT, WIDTH
from overfit_lab.views.report.page import make_report

REFERENCE = Path(__file__).parents[3] / "runs" / "reference"
BAR_BYTES, BAR_MS = 8_000_000, 2_000
"""A report of three runs is no larger, and is there no later."""


def absent(what):
    """Skip where a browser may be absent, fail where it must not."""
    if os.environ.get("OVERFIT_LAB_NEED_BROWSER") == "1":
        pytest.fail(f"{what}, and OVERFIT_LAB_NEED_BROWSER=1 says that it must be there")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
    if not Path(path).is_file():
        absent("no chromium is installed")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield found
        found.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open a page from disk; when the test is over nothing may have been said, loaded or thrown."""
    contexts, said, asked = [], [], []

    def open_page(text, **options):
        path = tmp_path / "report.html"
        path.write_text(text)
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce", **options}
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("data:", "file:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == len(contexts)


def block(page, name):
    return page.locator("details[data-epochs]").filter(has=page.get_by_role("heading", name=name, exact=True))


def test_the_slider_moves_all_pictures_by_keyboard(visit, text):
    page = visit(text)
    slider = block(page, "hard-seed0").get_by_role("slider")
    pictures = block(page, "hard-seed0").locator("[data-picture] > svg")
    late, last = [pictures.nth(i).inner_html() for i in range(3)], MAP_EPOCHS[-1]
    assert slider.get_attribute("aria-valuetext") == f"epoch {last}"
    slider.focus()
    page.keyboard.press("ArrowLeft")
    first = MAP_EPOCHS[0]
    assert slider.get_attribute("aria-valuetext") == f"epoch {first}"
    assert block(page, "hard-seed0").locator("output").text_content() == f"epoch {first}"
    for i in range(3):
        assert pictures.nth(i).inner_html() != late[i]
        assert f"epoch {first}" in pictures.nth(i).get_attribute("aria-label")
    assert f"{first} predicted wrong" in pictures.nth(0).get_attribute("aria-label")
    assert block(page, "sglr-seed0").get_by_role("slider").get_attribute("aria-valuetext") == f"epoch {first}"
    page.get_by_label("Move all runs together").uncheck()
    slider.focus()
    page.keyboard.press("End")
    assert [pictures.nth(i).inner_html() for i in range(3)] == late
    assert block(page, "sglr-seed0").get_by_role("slider").get_attribute("aria-valuetext") == f"epoch {first}"


def test_pictures_show_the_arrays(visit, text, runs):
    page = visit(text)
    found = block(page, "smooth-seed0")
    diagram = found.locator("[data-picture=diagram] > svg")
    table = runs[1].arrays("calibration", 20)["reliability-test-clean"]
    assert diagram.locator("circle.fill-blue").count() == len(table)
    heights = [float(circle.get_attribute("cy")) for circle in diagram.locator("circle.fill-blue").all()]
    slope = (heights[-1] - heights[0]) / (table[-1, 1] - table[0, 1])
    assert all(abs(h - heights[0] - slope * (a - table[0, 1])) < 0.2 for h, a in zip(heights, table[:, 1], strict=True))
    dots = found.locator("[data-picture=map] > svg path.dots")
    assert dots.count() == 10
    assert sum(path.get_attribute("d").count("M") for path in dots.all()) == 60
    found.get_by_text("Numbers of smooth-seed0 at this epoch").click()
    rows = found.locator(".numbers tbody tr").all_inner_texts()
    assert rows[0].split() == ["clean", "reliability", "0.03", "0", "20"]


def test_pictures_of_a_run_that_is_folded_are_drawn_when_it_is_opened(visit, text):
    page = visit(text)
    folded = block(page, "hard-seed1")
    assert folded.get_attribute("open") is None
    assert folded.locator("[data-picture=map] > svg path").count() == 0
    folded.locator("summary").first.click()
    page.wait_for_function("document.querySelectorAll('details[data-epochs][open]').length === 4")
    folded.locator("[data-picture=map] > svg path.dots").first.wait_for(state="attached")


def numbers(page, table, column):
    texts = page.locator(f"#{table} tbody tr").evaluate_all(f"rows => rows.map(row => row.cells[{column}].textContent)")
    return [text.split(" ")[0] for text in texts]


def test_the_tables_sort_both_ways_by_value(visit, text):
    page = visit(text)
    heads = page.locator("#methods thead tr").last.locator("th")
    before = numbers(page, "methods", 0)
    column = 6  # diff under the attack: hard falls by ten points, smooth by five, sglr by one
    assert heads.nth(column).get_attribute("aria-sort") == "none"
    heads.nth(column).locator("button").click()
    assert heads.nth(column).get_attribute("aria-sort") == "ascending"
    assert numbers(page, "methods", column) == ["1.0", "5.0", "10.0"]  # by value: as texts 10.0 would come before 5.0
    heads.nth(column).locator("button").focus()
    page.keyboard.press("Enter")
    assert heads.nth(column).get_attribute("aria-sort") == "descending"
    assert numbers(page, "methods", column) == ["10.0", "5.0", "1.0"]
    heads.nth(0).locator("button").click()
    assert heads.nth(column).get_attribute("aria-sort") == "none"
    assert numbers(page, "methods", 0) == sorted(before)


def test_missing_values_are_last_either_way_and_equal_rows_keep_their_order(visit, text):
    page = visit(text)
    page.evaluate(
        """() => {
          const rows = document.querySelectorAll("#runs tbody tr");
          [[0, null], [1, 3], [2, -2], [3, 3]].forEach(([i, key]) => {
            const cell = rows[i].cells[2];
            rows[i].dataset.at = i;
            if (key === null) delete cell.dataset.key; else cell.dataset.key = key;
          });
        }"""
    )
    button = page.locator("#runs thead th").nth(2).locator("button")
    order = "rows => rows.map(row => row.dataset.at).join('')"
    button.click()
    assert page.locator("#runs tbody tr").evaluate_all(order) == "2130"
    button.click()
    assert page.locator("#runs tbody tr").evaluate_all(order) == "1320"


def test_charts_read_the_records_by_pointer_and_by_keyboard(visit, text, runs):
    page = visit(text)
    plot = page.locator("[data-chart=robust-test]")
    plot.scroll_into_view_if_needed()
    value = runs[1].value_at(12, "evaluation", "acc_adv", "test", "adversarial")
    box = plot.locator("svg").bounding_box()
    x = LEFT + 12 / 20 * (WIDTH - RIGHT - LEFT)
    page.mouse.move(box["x"] + x / WIDTH * box["width"], box["y"] + box["height"] / 2)
    readout = plot.locator(".readout")
    assert "epoch 12" in readout.inner_text()
    assert f"label smoothing: {100 * value:.1f} %" in readout.inner_text()
    page.mouse.move(5, 5)
    assert readout.is_hidden()
    plot.focus()
    for key, epoch in (("ArrowRight", 1), ("ArrowRight", 2), ("End", 20), ("ArrowLeft", 19), ("Home", 1)):
        page.keyboard.press(key)
        assert f"epoch {epoch}\n" in readout.inner_text()
    page.keyboard.press("Escape")
    assert readout.is_hidden()


CONTRAST = """() => {
  const luminance = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
    c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
  ).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const behind = node => {
    for (let at = node; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = "h1,h2,h3,p,li,dt,dd,td,th,a,button,summary,figcaption,label,code,output,span,small";
  for (const node of document.querySelectorAll(texts)) {
    if (!node.textContent.trim() || !node.checkVisibility() || node.closest("[aria-hidden]")) continue;
    const [a, b] = [luminance(rgb(getComputedStyle(node).color)), luminance(behind(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 80)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_both_schemes_and_the_button_switches(visit, text, scheme):
    page = visit(text, color_scheme=scheme)
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 23, 28)"}[scheme]
    for _ in range(2):
        found = page.evaluate(CONTRAST)
        assert len(found) > 100
        assert [pair for pair in found if pair[0] < 4.5] == []
        page.get_by_label("Switch between light and dark").click()
    assert page.evaluate(background) == {"light": "rgb(255, 255, 255)", "dark": "rgb(19, 23, 28)"}[scheme]


def test_paper_shows_everything_in_light(visit, text):
    page = visit(text, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(28, 33, 40)"
    assert page.locator("nav").is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for chosen in ("#configurations pre", "#runs", "#methods", "figure.chart svg", ".picture > svg", ".drawing img"):
        places = page.locator(chosen)
        assert places.count() > 0
        assert all(place.is_visible() for place in places.all()), chosen
    assert block(page, "hard-seed1").locator("[data-picture=map] > svg path.dots").count() == 10
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert block(page, "hard-seed1").get_attribute("open") is None


def test_nothing_is_wider_than_a_narrow_screen(visit, text, hostile_text):
    for content in (text, hostile_text):
        page = visit(content, viewport={"width": 400, "height": 800})
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        wide = """nodes => nodes.filter(node => {
          const box = node.getBoundingClientRect();
          return box.width && box.right > 401 && !node.closest(".scroll, .bar ul, pre");
        }).map(node => node.outerHTML.slice(0, 100))"""
        assert page.locator("body *").evaluate_all(wide) == []


def test_markup_in_names_stays_text(visit, hostile_text):
    page = visit(hostile_text)
    page.locator("details").evaluate_all("parts => parts.forEach(part => { part.open = true; })")
    page.locator("[data-chart]").first.focus()
    page.keyboard.press("End")
    for slider in page.locator("input[type=range]").all():
        slider.focus()
        page.keyboard.press("Home")
    assert page.evaluate("window.hacked") is None
    assert page.title() == IMG + END
    assert page.locator("h1").text_content() == IMG + END
    assert IMG in page.locator("#epochs h3").first.text_content()
    assert END in page.locator("#environment").text_content()
    assert END in page.locator("#configurations pre").first.text_content()
    assert page.locator("img[onerror]").count() == 0


RAN = """() => [
  window.hacked,
  document.querySelectorAll("[onerror], [onload], [onclick], [onmouseover], iframe, object, embed, base, form").length,
  [...document.querySelectorAll("script")].filter(node => node.type !== "application/json").length,
  [...document.querySelectorAll("a[href]")].filter(node => !node.getAttribute("href").startsWith("#")).length,
  [...document.querySelectorAll("img, image")].filter(node => !node.src.startsWith("data:")).length,
]"""


def test_nothing_happens_whatever_field_of_a_folder_is_hostile(visit, text, hostile_everywhere, hostile_runs):
    page = visit(text)
    plain = page.evaluate(RAN)
    page = visit(hostile_everywhere)
    page.locator("details").evaluate_all("parts => parts.forEach(part => { part.open = true; })")
    for chart in page.locator("[data-chart]").all():
        chart.focus()
        for key in ("End", "Home", "ArrowRight"):
            page.keyboard.press(key)
    for slider in page.locator("input[type=range]").all():
        slider.focus()
        page.keyboard.press("Home")
    for button in page.locator("button").all():
        if button.is_visible():
            button.click()
    assert page.evaluate(RAN) == plain
    shown = page.locator("body").evaluate("node => node.textContent")
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u2066\u200b\u2028")
    for run in hostile_runs:
        assert for_terminal_lines(run.name) in shown
        for said in (run.info["command"], run.info["git_revision"], *run.info["versions"], run.config.data.name):
            assert for_terminal_lines(said) in shown
        for key, value in run.config.labels.options.items():
            assert key == value or value in to_yaml(run.config) or for_terminal_lines(value) in shown


FOCUSED = """() => {
  const at = document.activeElement;
  if (at.className === "skip") return "skip";
  if (at.closest("#methods thead th")) return "head";
  return at.id || at.dataset.chart || at.getAttribute("href") || at.type || at.tagName;
}"""


def test_the_keyboard_reaches_everything_in_order(visit, text):
    page = visit(text)
    reached = []
    for _ in range(150):
        page.keyboard.press("Tab")
        tag = page.evaluate(FOCUSED)
        reached.append(tag)
        if tag == "BODY":
            break
    order = [reached.index(name) for name in ("skip", "#summary", "theme", "head", "robust-test", "epochs-0-slider")]
    assert order == sorted(order)
    assert reached.count("head") == 7
    assert "epochs-2-slider" in reached


def test_it_can_be_read_aloud(visit, text):
    page = visit(text)
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("main").count() == page.locator("h1").count() == page.locator("nav[aria-label]").count() == 1
    levels = page.locator("h1, h2, h3, h4, h5, h6").evaluate_all("nodes => nodes.map(node => Number(node.tagName[1]))")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    bare = {
        "img:not([alt]), img[alt='']": "pictures without words",
        "svg:not([aria-hidden]):not([role=img][aria-label])": "drawings without words",
        "figure:not(:has(figcaption))": "figures without a caption",
        "th:not([scope])": "headings of no row or column",
        "[role=region]:not([aria-label]), [role=group]:not([aria-label])": "places without a name",
        "section:not([aria-labelledby])": "sections without a name",
    }
    for chosen, what in bare.items():
        assert page.locator(chosen).count() == 0, what
    unnamed = "nodes => nodes.filter(node => !(node.labels && node.labels.length)).map(node => node.outerHTML)"
    assert page.locator("input, select").evaluate_all(unnamed) == []
    mute = "nodes => nodes.filter(node => !(node.textContent.trim() || node.ariaLabel)).map(node => node.outerHTML)"
    assert page.locator("button, a, summary").evaluate_all(mute) == []
    labels = page.locator("figure.chart svg[role=img]").evaluate_all("nodes => nodes.map(node => node.ariaLabel)")
    assert "hard labels: highest 50.5 % at epoch 12, last 40.5 % at epoch 20" in labels[0]
    assert page.locator("figure.chart").count() == page.locator("figure.chart > details table").count() == len(labels)
    colors = "nodes => nodes.map(node => node.getAttribute('stroke-dasharray'))"
    assert len(set(page.locator(".legend .line").evaluate_all(colors))) == 3  # told apart without colour


@pytest.mark.slow
def test_three_runs_of_the_reference_stay_within_the_bars(visit):
    found = find_runs(REFERENCE / f"cifar10-small-{labels}-seed0" for labels in ("hard", "smooth", "sglr"))
    text = make_report(found)
    assert len(text.encode()) < BAR_BYTES
    page = visit(text)
    page.wait_for_load_state("load")
    timing = "performance.timing.loadEventEnd - performance.timing.navigationStart"
    times = [page.evaluate(timing)]
    for _ in range(2):  # a busy machine may be slow once
        if times[-1] >= BAR_MS:
            page = visit(text)
            times.append(page.evaluate(timing))
    assert 0 < min(times) < BAR_MS
    expected = Run(REFERENCE / "cifar10-small-hard-seed0").value_at(12, "evaluation", "acc_adv", "test", "adversarial")
    page.get_by_text("Values of Robust test accuracy").click()
    row = page.locator("#chart-robust-test tbody tr").filter(has=page.get_by_role("rowheader", name="12", exact=True))
    assert row.locator("td").first.text_content() == f"{100 * expected:.1f} %"
    assert page.locator(".drawing img").count() >= 6
    load = "images => Promise.all(images.map(image => { image.loading = 'eager'; return image.decode(); }))"
    page.locator(".drawing img").evaluate_all(load)  # fails where one cannot be shown
