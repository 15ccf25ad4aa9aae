"""Each section against the records it is made of."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from reports import END, HOSTILE, IMG, LABELS, MAP_EPOCHS, Page, add_arrays, make_diagnosis

from overfit_lab.config.catalog import SECTIONS
from overfit_lab.config.registry import Registry
from overfit_lab.errors import RunFolderError
from overfit_lab.records.reader import Run
from overfit_lab.records.summary import summarise_run
from overfit_lab.views.diagnosis import diagnose
from overfit_lab.views.diagnosis.finding import Diagnosis
from overfit_lab.views.report.chart import Axis
from overfit_lab.views.report.drawings import draw
from overfit_lab.views.report.material import Material
from overfit_lab.views.report.page import make_report
from overfit_lab.views.report.rendering import commands, to_script
from overfit_lab.views.report.sections import configurations, curves, environment, epochs, figures, summary, table
from run_factory import EPOCHS, make_run, robust_test


@pytest.fixture
def material(runs, diagnosed):
    return Material(runs, "A title")


def data_of(page, name, text):
    (found,) = re.findall(rf'id="data-{name}">(.*?)</script>', text, re.S)
    return json.loads(found)


# The page as a whole.


def test_the_page_is_well_formed_and_names_nothing_outside_itself(page, text):
    assert not page._open
    ids = page.ids()
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:")), attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    for link in page.of("a"):
        assert link["href"][1:] in ids
    assert not re.search(r"@import|url\(", text)
    script = text.rpartition("<script>")[2]
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|innerHTML|import\(|eval\(", script)


def test_the_policy_allows_this_style_and_this_script_alone(page):
    (policy,) = [meta["content"] for meta in page.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert len(re.findall("'sha256-[A-Za-z0-9+/=]{44}'", policy)) == 2


def test_the_same_runs_give_the_same_bytes(runs, text, diagnosed):
    assert make_report([Run(run.folder) for run in runs], "A title") == text


def test_sections_stand_in_their_order_and_are_linked(page):
    ordered = sorted(SECTIONS, key=lambda name: SECTIONS[name].order)
    found = [attributes["id"] for attributes in page.of("section")]
    assert found == ordered
    assert [link["href"][1:] for link in page.of("a")][1 : len(found) + 1] == found
    assert len({section.order for section in SECTIONS.values()}) == len(SECTIONS)


def test_the_example_section_of_the_page_on_the_report(runs, diagnosed, monkeypatch):
    from test_docs import ROOT, blocks

    (code,) = blocks(ROOT / "docs" / "report.md")
    names = {}
    exec(compile(code, "report.md", "exec"), names)
    monkeypatch.setattr("overfit_lab.views.report.page.SECTIONS", {**SECTIONS, **names["REGISTER"]})
    text = make_report(runs[:1])
    assert 'id="losses"' in text
    assert "hard-seed0" in text.partition('id="losses"')[2].partition("</section>")[0]


def test_a_section_with_nothing_to_say_is_left_out(runs, diagnosed, monkeypatch):
    silent = replace(SECTIONS["figures"], build=lambda material: None)
    monkeypatch.setattr("overfit_lab.views.report.page.SECTIONS", {**SECTIONS, "figures": silent, "diagnosis": silent})
    page = Page(make_report(runs[:1]))
    assert "figures" not in page.ids()
    assert "#figures" not in [link["href"] for link in page.of("a")]


def test_no_runs_are_refused():
    with pytest.raises(RunFolderError, match="no runs"):
        make_report([])


def test_markup_in_any_text_stays_text(hostile_text):
    page = Page(hostile_text)
    assert all("onerror" not in attributes for _, attributes in page.elements)
    assert {attributes.get("type") for attributes in page.of("script")} == {None, "application/json"}
    assert sum("type" not in attributes for attributes in page.of("script")) == 1
    for words in HOSTILE:
        assert words in page.whole
        assert words not in hostile_text
    for name in ("curves", "epochs"):
        data_of(page, name, hostile_text)


@pytest.mark.parametrize("words", [*HOSTILE, "a & b", "\u2028\u2029", "<!--", "]]>", 'a"b\\'])
def test_data_within_the_page_says_the_same_and_ends_no_element(words):
    text = to_script({words: [words, float("inf"), np.float32("nan"), np.arange(2), {"n": np.int64(3)}]})
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == {words: [words, None, None, [0, 1], {"n": 3}]}


def test_commands_are_marked_and_the_rest_is_escaped():
    assert commands(f"{IMG} `a<b`") == f"{IMG.replace('<', '&lt;').replace('>', '&gt;')} <code>a&lt;b</code>"
    assert commands("one ` alone") == "one ` alone"


# Summary.


def test_tiles_have_the_means_over_seeds(material):
    found = summary.build(material).body
    best = 100 * np.mean([0.50, 0.51])
    final = 100 * np.mean([robust_test("hard", seed, EPOCHS) for seed in (0, 1)])
    first = found.partition("hard labels")[2].partition("</li>")[0]
    assert re.findall(r"<dd>([\d.]+)", first) == [f"{best:.1f}", f"{final:.1f}", f"{best - final:.1f}"]
    assert "mean of 2 seeds" in first


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"probes": False}, "no probes"),
        ({"objective": "standard"}, "standard training"),
        ({"status": "running"}, f"running at epoch 7 of {EPOCHS}"),
        ({"status": "imported"}, "imported weights"),
        ({"records": ""}, "holds no records yet"),
    ],
)
def test_what_is_missing_is_said_and_nothing_breaks(tmp_path, diagnosed, changes, words):
    changes = dict(changes)
    status, records = changes.pop("status", None), changes.pop("records", None)
    run = make_run(tmp_path / "run", "hard", **changes)
    if status:
        path = run.folder / "run.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "status": status, "epoch": 7}))
    if records is not None:
        (run.folder / "records.jsonl").write_text(records)
    found = Material([Run(run.folder)], "one")
    assert any(words in line for line in summary.remarks(found.runs[0]))
    page = Page(make_report(found.runs))
    assert words in page.whole
    assert "overfit-lab" in page.whole


def test_clean_accuracy_is_what_standard_training_is_told_by(tmp_path, diagnosed):
    found = summary.build(Material([make_run(tmp_path / "run", "hard", objective="standard")], "one")).body
    assert "clean test accuracy" in found


# Diagnosis.


def test_findings_have_verdict_sentence_advice_and_figure(page, text):
    part = text.partition('id="diagnosis"')[2].partition("</section>")[0]
    assert re.findall(r'class="answer">(.*?)<', part) == ["yes", "no", "not enough evidence", "yes"]
    assert [link.partition("#")[2] for link in re.findall(r'<a href="(.*?)"', part)] == [
        "figure-overview",
        "figure-masking",
        "figure-fig2",
    ]
    assert "It overfits &lt;img" in part
    assert part.count('class="verdict"') == 4
    assert len(set(re.findall(r'<svg class="verdict".*?</svg>', part))) == 3


def test_a_figure_that_cannot_be_drawn_of_all_is_drawn_of_the_runs_of_a_finding(tmp_path, diagnosed, monkeypatch, runs):
    bare = make_run(tmp_path / "bare", "smooth", probes=False)
    finding = make_diagnosis(runs).findings[0]
    finding = replace(finding, figure="calibration")
    monkeypatch.setattr(diagnose, "diagnose", lambda *given: Diagnosis((), (finding,)))
    material = Material([runs[0], bare], "two")
    found = {drawing.anchor: drawing for drawing in material.drawings}
    assert "no ece in bare" in found["figure-calibration"].missing
    assert found["figure-calibration-1"].runs == ("hard-seed0",)
    assert material.anchor_of("calibration", ("hard-seed0",)) == "figure-calibration-1"
    assert "Runs: hard-seed0." in figures.build(material).body


def test_a_figure_of_one_way_of_training_is_drawn_anew_for_a_finding_about_another(runs, diagnosed, monkeypatch):
    findings = tuple(replace(make_diagnosis(runs).findings[0], runs=(run.name,)) for run in runs[:2])
    monkeypatch.setattr(diagnose, "diagnose", lambda *given: Diagnosis((), findings))
    for module in ("drawings", "material"):
        monkeypatch.setattr(f"overfit_lab.views.report.{module}.ONE_WAY", {"overview"})
    material = Material(runs, "")
    anchors = [material.anchor_of("overview", names) for names in ((runs[0].name,), (runs[1].name,), ("other",), ())]
    assert anchors == ["figure-overview-1", "figure-overview-2", None, "figure-overview"]
    assert material.anchor_of("overview", [run.name for run in runs]) == "figure-overview"


def test_no_diagnosis_is_one_line(monkeypatch, runs):
    def refuse(*given):
        raise RunFolderError(f"nothing {IMG} to say")

    monkeypatch.setattr(diagnose, "diagnose", refuse)
    body = SECTIONS["diagnosis"].build(Material(runs, "")).body
    assert "nothing &lt;img" in body


# Best, final, diff.


def test_the_tables_cells_are_those_of_the_records(material, runs):
    body = table.build(material).body
    keys = re.findall(r'data-key="([^"]*)"', body.partition('id="runs"')[2].partition("<tbody>")[2])
    row = summarise_run(runs[0])
    assert keys[0] == "hard-seed0"
    numbers = [float(key) for key in keys[2:8]]
    assert numbers == [
        row[name] for name in ("best_epoch", "clean_best", "clean_final", "clean_diff", "robust_best", "robust_final")
    ]
    methods = body.partition('id="methods"')[2].partition("</table>")[0]
    assert "PGD-AT + SGLR" in methods
    assert "50.5 ± 0.7" in methods
    assert methods.count('aria-sort="none"') == 7


def test_settings_of_several_data_sets_are_letters(tmp_path, runs):
    other = make_run(tmp_path / "other", "hard", rate=0.0)
    found = table.build(Material([runs[0], other], "")).body
    assert re.findall(r'data-key="([AB])"', found) == ["A", "B"]
    assert "<strong>B</strong>" in found


def test_runs_without_an_evaluation_are_named_and_the_others_stay(tmp_path, runs):
    empty = make_run(tmp_path / "empty", "hard")
    (empty.folder / "records.jsonl").write_text("")
    body = table.build(Material([runs[0], Run(empty.folder)], "")).body
    assert "Left out:" in body
    assert 'id="methods"' in body
    assert "None of the runs" in table.build(Material([Run(empty.folder)], "")).body


# Curves.


def test_readings_are_the_records(material, runs):
    found = curves.build(material).data["robust-test"]
    assert [epoch for epoch, _ in found["epochs"]] == list(range(1, EPOCHS + 1))
    names = [line["name"] for line in found["lines"]]
    assert names == ["hard labels", "label smoothing", "SGLR"]
    sglr = found["lines"][2]["texts"]
    assert sglr[11] == f"{100 * runs[2].value_at(12, 'evaluation', 'acc_adv', 'test', 'adversarial'):.1f} %"
    assert found["lines"][0]["texts"][11] == "50.5 % (50.0 % to 51.0 %)"


def test_lines_stand_where_their_values_are(material):
    chart = curves.build(material).data["gradient-norm"]
    pixels = np.array(chart["lines"][1]["pixels"])
    steps = np.diff(pixels)
    assert (steps < 0).all()  # the norm grows, so its line rises
    assert np.allclose(steps, steps[0], atol=0.11)  # by the same at each epoch


def test_neighbours_share_their_axis(material):
    data = curves.build(material).data
    values = {}
    for name in ("robust-test", "robust-train"):
        line = data[name]["lines"][2]
        for text, pixel in zip(line["texts"], line["pixels"], strict=True):
            values.setdefault(text, set()).add(pixel)
    assert any(len(pixels) == 1 for pixels in values.values())
    ranges = [
        re.findall(r'text-anchor="end">([\d.]+)<', part) for part in curves.build(material).body.split("<figure")[1:3]
    ]
    assert ranges[0] == ranges[1]


def test_missing_numbers_come_with_their_command(tmp_path):
    body = curves.build(Material([make_run(tmp_path / "run", "hard", probes=False)], "")).body
    for metric in ("gradient-norm", "iiw", "calibration", "hessian"):
        assert f"<code>overfit-lab probe RUN --metric {metric} --checkpoint all</code>" in body


def test_weights_of_a_regularizer_have_lines_of_their_own(tmp_path):
    run = make_run(tmp_path / "run", "hard", regularizers=[{"name": "swa"}])
    path = run.folder / "records.jsonl"
    lines = [line.replace('"evaluation"', '"evaluation@swa"') for line in path.read_text().splitlines()]
    with open(path, "a") as file:
        file.write("\n".join(line for line in lines if "@swa" in line) + "\n")
    found = curves.build(Material([Run(run.folder)], "")).data["robust-test"]["lines"]
    assert [line["name"] for line in found] == ["hard labels + swa", "hard labels + swa, swa weights"]


def test_an_axis_ends_where_its_panel_does_and_logarithms_are_evenly_spaced():
    axis = Axis(2, 12, 50, 450)
    assert [axis.pixel(value) for value in (2, 7, 12)] == [50, 250, 450]
    axis = Axis(1, 100, 300, 0, log=True)
    assert [axis.pixel(value) for value in (1, 10, 100)] == [300, 150, 0]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis(0, 50, 0, 1), [0, 10, 20, 30, 40, 50]),
        (Axis(0.13, 0.58, 0, 1), [0.2, 0.3, 0.4, 0.5]),
        (Axis(3, 3000, 0, 1, log=True), [10, 100, 1000]),
        (Axis(90, 330, 0, 1, log=True), [100, 200]),
        (Axis(-1, 1, 0, 1), [-1, -0.5, 0, 0.5, 1]),
    ],
)
def test_ticks_are_round_and_within(axis, expected):
    assert axis.ticks() == pytest.approx(expected)


def test_axes_of_constant_and_of_huge_values_do_not_break(tmp_path):
    run = make_run(tmp_path / "run", "hard")
    path = run.folder / "records.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    values = {"acc_adv": 0.0, "iiw": -5.0, "full": 1e308, "trace": 1e-300}
    path.write_text("".join(json.dumps({**r, "value": values.get(r["field"], r["value"])}) + "\n" for r in rows))
    part = curves.build(Material([Run(run.folder)], ""))
    assert "nan" not in part.body.lower().replace("nance", "")
    assert "inf" not in re.findall(r' d="(.*?)"', part.body)
    json.loads(to_script(part.data))


# Epoch by epoch.


def test_pictures_hold_the_arrays(runs):
    found = epochs.pictures(runs[0])
    assert found["epochs"] == list(MAP_EPOCHS)
    assert [len(part["wrong"]) for part in found["maps"]] == list(MAP_EPOCHS)
    assert [part["clean"]["bins"][0] for part in found["diagrams"]] == [[0.03, 0.0, epoch] for epoch in MAP_EPOCHS]
    assert found["diagrams"][1]["adversarial"]["ece"] == "0.300"
    values = runs[0].arrays("confidence", 20)["label-prob-test-clean"]
    assert found["histograms"][1]["clean"].sum() == len(values)
    assert found["histograms"][1]["clean"][3] == ((values >= 0.15) & (values < 0.2)).sum()


def test_maps_share_one_scale_and_keep_their_shape():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(50, 2)) * (3, 1), rng.normal(size=(50, 2)) * (1, 2) + 5]
    scaled = epochs.to_grid(maps)
    together, given = np.concatenate(scaled), np.concatenate(maps)
    assert together.min() >= 0
    assert together.max() == epochs.GRID
    span = (given.max(0) - given.min(0)).max()
    distances = np.linalg.norm(given[:, None] - given, axis=2) / span * epochs.GRID
    assert np.abs(np.linalg.norm((together[:, None] - together).astype(float), axis=2) - distances).max() < 1.5


def test_maps_of_nothing_finite_do_not_break():
    (found,) = epochs.to_grid([np.array([[np.nan, 1.0], [np.inf, 2.0]])])
    assert np.isfinite(found).all()


def test_only_so_many_points_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(epochs, "MOST_POINTS", 7)
    run = make_run(tmp_path / "run", "hard")
    add_arrays(run.folder)
    found = epochs.pictures(Run(run.folder))["maps"][0]
    assert len(found["x"]) == len(found["labels"]) == 7
    assert max(found["wrong"]) < 7


def test_runs_without_arrays_are_named_with_the_command(tmp_path, runs):
    bare = make_run(tmp_path / "bare", "hard", probes=False)
    body = epochs.build(Material([runs[0], bare], "")).body
    assert "in bare" in body
    assert "--metric features,calibration,confidence" in body
    assert body.count('type="range"') == 1


# Figures.


def test_figures_are_images_in_the_page_with_words(page, material):
    images = page.of("img")
    assert len(images) == 4
    for image in images:
        assert image["src"].startswith("data:image/svg+xml;base64,")
        assert len(image["alt"]) > 20
    absent = [drawing for drawing in material.drawings if drawing.missing]
    for drawing in absent:
        assert drawing.missing in page.whole or "`" in drawing.missing


def test_a_figure_of_too_many_dots_is_in_pixels(runs, diagnosed, monkeypatch):
    from overfit_lab.views.report import drawings

    monkeypatch.setattr(drawings, "LARGEST_SVG", 1_000)
    assert draw("fig2", runs[:1], "a").image.startswith("data:image/png;base64,iVBOR")


def test_a_figure_that_fails_is_a_line(runs, monkeypatch):
    def fail(given):
        raise ValueError("$x is no\n formula")

    monkeypatch.setattr("overfit_lab.views.report.drawings.FIGURES", {"overview": fail})
    assert draw("overview", runs, "a").missing == "$x is no formula"


def test_a_figure_that_nobody_registered_is_a_line_once(runs, diagnosed, monkeypatch):
    findings = tuple(replace(make_diagnosis(runs).findings[0], figure="figg1", runs=(run.name,)) for run in runs)
    monkeypatch.setattr(diagnose, "diagnose", lambda *given: Diagnosis((), findings))
    monkeypatch.setattr(
        "overfit_lab.views.report.drawings.FIGURES", Registry("figure", "overfit_lab.methods.labels", "NONE")
    )
    found = Material(runs, "")
    assert figures.build(found).body.count("unknown figure") == 1
    assert found.anchor_of("figg1", (runs[0].name,)) is None


# Configurations and environment.


def test_differences_are_those_of_the_configurations(material):
    body = configurations.build(material).body
    keys = re.findall(r"<th scope=\"row\"><code>(.*?)</code>", body)
    assert "labels.name" in keys
    assert "seed" in keys
    assert "attack.eps" not in keys
    row = body.partition("<code>labels.name</code>")[2].partition("</tr>")[0]
    assert re.findall("<td>(.*?)</td>", row) == [*LABELS, "hard"]
    assert body.count("<pre") == 4


def test_environment_has_what_is_common_once(tmp_path, runs):
    folders = [make_run(tmp_path / name, "hard").folder for name in ("a", "b")]
    for i, folder in enumerate(folders):
        info = json.loads((folder / "run.json").read_text())
        info |= {"versions": {"torch": "2.6"}, "device": f"cpu{i}", "wall_seconds": 3725.0 + i, "git_revision": "abc"}
        (folder / "run.json").write_text(json.dumps(info))
    body = environment.build(Material([Run(folder) for folder in folders], "")).body
    common = body.partition("</dl>")[0]
    assert "torch version" in common
    assert "cpu0" not in common
    assert "1 h 2 min" in common
    assert "cpu0" in body
    assert "cpu1" in body


def test_runs_of_one_name_are_told_apart(tmp_path):
    made = [make_run(tmp_path / part / "run", "hard", seed=i) for i, part in enumerate("ab")]
    assert list(Material(made, "").names.values()) == ["a/run", "b/run"]


# The command.


def test_the_command_writes_the_page_and_says_where(runs, tmp_path, diagnosed, capfd, monkeypatch):
    from overfit_lab.cli.main import run

    monkeypatch.chdir(tmp_path)
    assert run(["report", str(runs[0].folder), "--title", END]) == 0
    out, err = capfd.readouterr()
    assert re.fullmatch(r"report\.html \(\d+\.\d MB\)\n", out)
    assert not err
    assert END in Page((tmp_path / "report.html").read_text()).whole
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("out", "words"), [("folder", "is a folder"), ("none/report.html", "does not exist"), ("/proc/x.html", "cannot be")]
)
def test_a_file_that_cannot_be_written_is_refused_in_one_line_before_any_work(tmp_path, capfd, out, words, monkeypatch):
    from overfit_lab.cli.main import run
    from overfit_lab.views.report import page

    monkeypatch.setattr(page, "make_report", lambda *_: pytest.fail("work was done"))
    (tmp_path / "folder").mkdir()
    assert run(["report", str(tmp_path), "-o", str(tmp_path / out)]) == 2
    _, err = capfd.readouterr()
    assert words in err
    assert err.count("\n") == 1


def test_templates_style_and_script_are_found_as_package_files():
    from importlib.resources import files

    names = {
        path.name
        for folder in ("templates", "static")
        for path in files("overfit_lab.views.report").joinpath(folder).iterdir()
    }
    assert {"page.html", "report.css", "report.js"} <= names
