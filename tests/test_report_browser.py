"""A run's page in a real browser: nothing is asked of any network, nothing is wider than MLflow's frame."""

import json
import re
import shutil
import subprocess

import pytest
from page_check import Checked, text_of

from tflite_recipes import api, events
from tflite_recipes.errors import ExitStatus

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.slow
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
# Said by the page itself, once it is laid out: in an attribute, which --dump-dom prints.
MEASURE = """<script>
const wide = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > innerWidth + 1);
const loaded = performance.getEntriesByType('resource').map(entry => entry.name);
document.body.dataset.found = JSON.stringify({
  width: innerWidth, scroll: document.documentElement.scrollWidth, loaded: loaded,
  wide: wide.map(e => e.tagName + ' ' + e.textContent.slice(0, 60)),
  colour: getComputedStyle(document.body).color, back: getComputedStyle(document.body).backgroundColor,
  headings: [...document.querySelectorAll('h2')].map(e => e.textContent),
});
</script>"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with nearly every section: gates, one of them missed, classes, a measurement with its ops, calibration."""
    folder = tmp_path_factory.mktemp("run")
    overrides = ["tracking=none", "target=cpu", "target.runs=5", "target.flash_kb=20", "source.epochs=2"]
    result = api.run("digits_integer_only", overrides, output_dir=folder, progress=False)
    assert result.status is ExitStatus.GATE, result.problems
    return result


def opened(page, folder, width):
    """What the page says of itself in a window of this width. Folded parts are open."""
    path = folder / f"page_{width}.html"
    page = page.replace("<details>", "<details open>")
    path.write_text(page.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    (found,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    return json.loads(found.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_the_page_has_every_section(run):
    checked = Checked((run.output_dir / "report.html").read_text())
    assert checked.headings == [
        "Gates",
        "Results",
        "Drop by class",
        "Parity by output",
        "Size, sparsity, speed",
        "Size by layer",
        "Latency",
        "Inputs and outputs",
        "Ops",
        "Tensor types",
        "Quantization error",
        "Calibration ranges",
        "All figures",
        "Time by step",
        "Inputs and digests",
        "Environment",
        "Run it again",
        "Recipe",
    ]
    text = " ".join(checked.text)
    for part in ("gate failed", "target.flash_kb failed", "dense FULLY_CONNECTED", "source.epochs=2", "tensorflow 2."):
        assert part in text


@in_a_browser
@pytest.mark.parametrize("width", [1200, 700])
def test_it_fits_its_frame_and_loads_nothing(run, tmp_path, width):
    html = (run.output_dir / "report.html").read_text()
    found = opened(html, tmp_path, width)
    assert found["width"] == width
    assert found["wide"] == []
    assert found["scroll"] <= width
    assert found["loaded"] == []
    assert (found["colour"], found["back"]) == ("rgb(28, 39, 51)", "rgb(255, 255, 255)")
    assert found["headings"] == Checked(html).headings


def test_what_the_page_shows_is_kept_beside_it(run):
    told = [json.loads(line) for line in (run.output_dir / "events.jsonl").read_text().splitlines()]
    kept = [event["path"].rpartition("/")[2] for event in told if event["event"] == events.ArtifactKept.__name__]
    assert {"sizes.json", "activation_ranges.csv", "per_class.csv", "parity.json", "report.html"} <= set(kept)
    sizes = json.loads((run.output_dir / "sizes.json").read_text())
    parts = ("weights", "other_constants", "metadata", "graph")
    assert sum(sizes[part] for part in parts) == sizes["file"] == (run.output_dir / "model.tflite").stat().st_size
    assert {part["layer"] for part in sizes["layers"]} >= {"conv_1", "conv_2", "dense", "digit"}


def test_a_run_that_failed_has_a_page(tmp_path):
    overrides = ["tracking=none", "source.epochs=1", "io_contract.inputs={image: {dtype: uint8}}"]
    result = api.run("digits_integer_only", overrides, output_dir=tmp_path / "out", progress=False)
    assert result.status is ExitStatus.FAILED
    text = text_of((tmp_path / "out" / "report.html").read_text())
    assert "the file has int8, uint8 was declared" in text
    assert "fix: io_contract.inputs.image.dtype=int8" in text
    assert "Calibration ranges" in text  # what was known by then
