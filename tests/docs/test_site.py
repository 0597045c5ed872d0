"""The built site: links hold, nothing comes from a network, and its search runs from disk."""

import html
import json
import re
import shutil
import subprocess
import sys

import pytest
from support.checkout import REPOSITORY

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.slow
# What a reader does: open the search, type a word, look at what is listed, which is in a shadow tree.
SEARCH = """<script>
const shadows = () => [...document.querySelectorAll('*')].filter(e => e.shadowRoot).map(e => e.shadowRoot);
const later = (f, ms) => setTimeout(f, ms);
addEventListener('load', () => later(() => {
  document.querySelector('.md-search__button').click();
  later(() => {
    const input = shadows().flatMap(root => [...root.querySelectorAll('input')])[0];
    input.value = WORD;
    input.dispatchEvent(new Event('input', {bubbles: true}));
    later(() => {
      const links = shadows().flatMap(root => [...root.querySelectorAll('a')]).map(a => a.getAttribute('href'));
      document.body.dataset.found = JSON.stringify(links);
    }, 3000);
  }, 500);
}, 1000));
</script>"""


def build(folder):
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of all that the site is built from, with the site."""
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "tflite_recipes"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("zensical.toml", "CHANGELOG.md"):
        shutil.copy(REPOSITORY / name, folder)
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_a_network(sources):
    pages = list((sources / "site").rglob("*.html"))
    assert len(pages) > 40
    loaded = re.compile(r"""<(?:script|img|iframe|link)\b[^>]*?\b(?:src|href)=["']?((?:https?:)?//[^"'> ]+)""")
    found = {url for page in pages for url in loaded.findall(page.read_text(encoding="utf-8"))}
    assert found == set()


@pytest.mark.parametrize("link", ["missing.md", "quickstart.md#missing", "#missing"])
def test_a_broken_link_fails_the_build(sources, link):
    page = sources / "docs" / "glossary.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(f"{text}\n\n[broken]({link})\n", encoding="utf-8")
    try:
        assert build(sources).returncode != 0
    finally:
        page.write_text(text, encoding="utf-8")


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
@pytest.mark.parametrize(
    ("word", "page"),
    [("microcontroller", "guides/targets/microcontrollers.html"), ("image folder", "guides/own-model.html")],
)
def test_search_finds_a_page_without_a_server(sources, tmp_path, word, page):
    site = shutil.copytree(sources / "site", tmp_path / "site")
    home = site / "index.html"
    script = SEARCH.replace("WORD", json.dumps(word))
    home.write_text(home.read_text(encoding="utf-8").replace("</body>", f"{script}</body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", home.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    (found,) = re.findall(r'data-found="([^"]*)"', done.stdout)
    links = json.loads(html.unescape(found))
    assert any(page in link for link in links), links
