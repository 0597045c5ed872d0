"""A run's page in a real browser: nothing is asked of any network, nothing is wider than MLflow's frame."""

import json
import re
import shutil
import subprocess

import pytest
from support.page_check import Checked, text_of

from tflite_recipes import api
from tflite_recipes.config import composition, recipe_inputs
from tflite_recipes.conversion.quality import tensor_errors
from tflite_recipes.core import events
from tflite_recipes.core.errors import ExitStatus, Problem
from tflite_recipes.core.state import Gate
from tflite_recipes.files.tflite import activation_ranges
from tflite_recipes.report import run_page

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
  place: (document.querySelector('nav label:last-child')?.click(), scrollY),
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
    for part in ("gate_failed", "target.flash_kb failed", "dense FULLY_CONNECTED", "source.epochs=2", "tensorflow 2."):
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
    assert found["place"] > 2000  # the table of contents leads there


LONG = "block_1/" + "x" * 240 + "/a.b;c:d"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """The page of a run with names and texts that are longer than any line, wherever a model or a user gives one."""
    folder = tmp_path_factory.mktemp("crowded")
    tensor = {"shape": [None, *[1234] * 5], "dtype": "float32", "scale": 1 / 3, "zero_point": -128}
    ports = [{"name": LONG, "source": tensor, "tflite": tensor}]
    figures = {"max_abs_error": 1e-9, "mean_abs_error": 1e9, "cosine": 0.9, "sqnr_db": -20.0, "relative_rmse": 1 / 3}
    part = {"layer": LONG, "ops": ["FULLY_CONNECTED", LONG], "bytes": 10**9, "constants": 9, "dtypes": {"int8": 10**9}}
    sizes = {"file": 10**10, "weights": 10**9, "other_constants": 1, "metadata": 1, "graph": 1, "layers": [part]}
    entry = {"shape": [1234] * 5, "dtype": "float32", "min": -1 / 3, "max": 1e9, "mean": 1 / 3}
    manifest = {"source": LONG, "samples": 5, "seed": 0, "sha256": "f", "inputs": {LONG: entry}, "labels": {LONG: 5}}
    for name, value in (
        ("io_contract.json", {"inputs": ports, "outputs": ports, "remedies": [LONG]}),
        ("ops.json", {"op_counts": {LONG: 3}, "tensor_dtypes": {"int8": 3}}),
        ("parity.json", {LONG: {**figures, "without_delegates": {**figures, "samples": 64}}}),
        ("sizes.json", sizes),
        ("calibration.json", manifest),
    ):
        (folder / name).write_text(json.dumps(value))
    (folder / "per_class.csv").write_text(f"class,samples,source_recall,tflite_recall,drop\n{LONG},9,0.9,0.5,0.4\n")
    (folder / recipe_inputs.INPUTS).write_text(
        recipe_inputs.to_text([recipe_inputs.Input("source.path", LONG, "ab" * 32, 10**12)])
    )
    activation_ranges.write_csv(
        folder / activation_ranges.RANGES,
        [activation_ranges.ActivationRange(LONG, LONG, LONG, "int16", 1e-9, -128, -1e9, 1e9)],
    )
    row = tensor_errors.TensorError(
        LONG, LONG, LONG, "activation", "int16", (None, *[1234] * 4), 0.1, 3, -100.0, -100.0, 1.0, 1e6, 1.0
    )
    tensor_errors.write_csv(folder / tensor_errors.TABLE, [row])
    recipe = composition.compose("digits_integer_only", [f"tracking.run_name={'y' * 250}"])
    gates = [Gate(f"target.{name}", 1e9 / 3, 1e9, False, "quantization steps", True, LONG) for name in ("a", "x" * 60)]
    tags = {"tflite_recipes.verdict": LONG, "tflite_recipes.differences": LONG, "tflite_recipes.reproduces": "a" * 32}
    problem = Problem(LONG, LONG, LONG, (LONG,))
    metrics = {"size.tflite_bytes": 1e10, "size.float_bytes": 1e12, "accuracy.tflite": 1 / 3, "accuracy.source": 2 / 3}
    told = (metrics, gates, [LONG], tags, folder, {"accuracy.metric": LONG, "parity.data": LONG})
    return run_page.render(recipe, *told, problems=[problem], log_tail=LONG)


@in_a_browser
@pytest.mark.parametrize("width", [1200, 700])
def test_names_of_any_length_stay_within_the_page(crowded, tmp_path, width):
    found = opened(crowded, tmp_path, width)
    assert found["wide"] == []
    assert found["scroll"] <= width
    assert len(found["headings"]) >= 14


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
