"""The page: what it holds, and what a real browser makes of it."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from laconic.data.folders import load_rgb
from laconic.evaluation.anchors.classical import ANCHORS
from laconic.evaluation.anchors.published import PublishedCurve
from laconic.evaluation.images.gallery import make_gallery, nearest_file, setting_near
from laconic.evaluation.images.results import Study
from laconic.evaluation.report.page import render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

PROBE = """
<script>
window.problems = [];
window.addEventListener("error", event => problems.push(String(event.message)));
document.addEventListener("securitypolicyviolation", e => problems.push("blocked " + e.blockedURI));
</script>
"""

REPORT = """
<script>
window.addEventListener("load", () => {
  const stage = document.querySelector(".stage"), slider = stage.querySelector("input");
  const left = stage.querySelector(".left");
  const look = () => getComputedStyle(left).clipPath;
  const before = look();
  slider.value = 20;
  slider.dispatchEvent(new Event("input", {bubbles: true}));
  const after = look();
  const bar = stage.querySelector(".bar").getBoundingClientRect();
  const box = stage.getBoundingClientRect();
  slider.focus();
  const switches = stage.parentElement.querySelectorAll(".choose button");
  switches[1].click();
  const shown = [...stage.querySelectorAll(".left")].map(image => !image.hidden);
  const legend = document.querySelectorAll(".legend button");
  legend[1].click();
  const visible = [...document.querySelectorAll(".curve")]
    .filter(curve => getComputedStyle(curve).display !== "none");
  const hidden = visible.every(curve => curve.dataset.curve !== legend[1].dataset.curve);
  legend[1].click();
  const pre = document.createElement("pre");
  pre.id = "report";
  pre.textContent = JSON.stringify({
    problems, before, after, shown, hidden,
    bar: (bar.left + bar.width / 2 - box.left) / box.width,
    focused: document.activeElement === slider,
    value: slider.getAttribute("aria-valuetext"),
    overflow: document.documentElement.scrollWidth - window.innerWidth,
    curves: [...document.querySelectorAll(".curve")].map(curve => curve.dataset.curve),
    sizes: [...document.querySelectorAll(".curve polyline")].map(line => line.getBBox().width),
    images: [...document.images].map(image => image.naturalWidth),
    unreachable: [...document.querySelectorAll("button, input")].filter(e => e.tabIndex < 0).length,
  });
  document.body.append(pre);
});
</script>
"""


@pytest.fixture(scope="module")
def page(study: Study, folder: Path, rounding: type) -> str:
    setting = setting_near(study.curves[0], 1.0)
    gallery = make_gallery(rounding(), setting, folder, [ANCHORS["jpeg"], ANCHORS["jpeg2000"]])
    line = ((0.2, 25.0), (0.6, 28.0), (1.2, 31.0))
    published = {"paper": PublishedCurve("A paper <1999>", "somewhere", line, line)}
    return render_page(study, gallery, published, max_bpp=6.0)


def test_the_page_asks_nothing_of_the_network(page: str) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)[^\"'\s>]*//", page)
    assert set(re.findall(r'src="(data:image/[a-z]+);base64,', page)) == {
        "data:image/webp",
        "data:image/jpeg",
    }


def test_everything_is_there(page: str, study: Study) -> None:
    for name in ("rounding", "jpeg", "paper"):
        assert page.count('<g class="curve') == 2 * 3
        assert page.count(f'data-curve="{name}"') == 3
    assert "A paper &lt;1999&gt;" in page
    assert "<1999>" not in page
    assert page.count('type="range"') == len(study.images)
    assert page.count("<table") == 2
    assert "$" not in re.sub(r"base64,[^\"]*", "", page)
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower().replace("finance", "")


def test_a_study_of_one_codec_without_pictures(study: Study) -> None:
    page = render_page(Study("one", study.curves[1:]))
    assert page.count("<table") == 1
    assert 'type="range"' not in page


def test_the_nearest_file(folder: Path) -> None:
    pixels, anchor = load_rgb(folder / "wide.png"), ANCHORS["jpeg"]
    sizes = [len(anchor.encode(pixels, quality)) for quality in range(1, 96)]
    for size in (sizes[30], 1, 10**9):
        best = min(abs(one - size) for one in sizes)
        assert abs(len(nearest_file(anchor, pixels, size)) - size) == best


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize("size", ["1280,900", "500,900"])
def test_in_a_browser(page: str, tmp_path: Path, size: str) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        page.replace("<style>", PROBE + "<style>", 1).replace("</body>", REPORT + "</body>", 1)
    )
    dom, log = browse(path, tmp_path, f"--window-size={size}", "--dump-dom")
    assert "CONSOLE" not in log, log
    found = re.search(r'<pre id="report">(.*?)</pre>', dom, re.DOTALL)
    assert found, dom[-500:]
    report = json.loads(html.unescape(found.group(1)))
    assert report["problems"] == []
    assert "50%" in report["before"]
    assert "80%" in report["after"]
    assert report["bar"] == pytest.approx(0.2, abs=0.01)
    assert report["shown"] == [False, True, False]
    assert report["hidden"] is True
    assert report["focused"] is True
    assert report["value"].startswith("20 per cent")
    assert report["overflow"] <= 0
    assert sorted(report["curves"]) == sorted(2 * ["rounding", "jpeg", "paper"])
    assert min(report["sizes"]) > 20
    assert len(report["images"]) == 2 * 4
    assert min(report["images"]) > 100
    assert report["unreachable"] == 0


def browse(path: Path, scratch: Path, *arguments: str) -> tuple[str, str]:
    """Open a file in headless Chromium; return what it printed and what it logged."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--enable-logging=stderr",
        f"--user-data-dir={scratch / 'profile'}",
        *arguments,
        path.as_uri(),
    ]
    environment = {**os.environ, "HOME": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
