"""The page in a real browser: every control, faults, many pictures, two users, all sizes."""

import io
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

import laconic
from laconic.testing.browser import Browser, Page

Png = Callable[..., bytes]
MIB = 1 << 20
IDLE = "document.body.dataset.busy === 'false'"
SHOWN = "!document.getElementById('save-lac').disabled"
COUNT_URLS = """
window.liveUrls = 0;
const make = URL.createObjectURL, drop = URL.revokeObjectURL;
URL.createObjectURL = blob => { liveUrls += 1; return make.call(URL, blob); };
URL.revokeObjectURL = url => { liveUrls -= 1; drop.call(URL, url); };
"""


def open_page(browser: Browser, studio: Any, **options: Any) -> Page:
    """The page of a new user, once the model is known."""
    page = browser.open(studio.address, script=COUNT_URLS, **options)
    page.wait("document.body.dataset.ready", 120)
    return page


@pytest.fixture
def page(browser: Browser, stub: Any) -> Iterator[Page]:
    """A page, which must log no error and request nothing from elsewhere."""
    yield from watched(browser, stub)


@pytest.fixture
def real_page(browser: Browser, studio: Any) -> Iterator[Page]:
    """The same with real workers."""
    yield from watched(browser, studio)


def watched(browser: Browser, studio: Any) -> Iterator[Page]:
    found = open_page(browser, studio)
    yield found
    requests = [one for one in found.requests if not one.startswith("blob:")]
    assert found.problems == []
    assert all(one.startswith(studio.address) for one in requests), requests
    found.close()


@pytest.fixture
def photograph(tmp_path: Path, png: Png) -> Path:
    """A picture large enough for MS-SSIM."""
    path = tmp_path / "photograph.png"
    path.write_bytes(png(0, 176))
    return path


@pytest.fixture
def small(tmp_path: Path, png: Png) -> Path:
    path = tmp_path / "small.png"
    path.write_bytes(png(3))
    return path


def choose(page: Page, path: Path) -> None:
    """Open a file, and wait for its picture."""
    page.run("document.getElementById('save-lac').disabled = true")
    page.choose_files("#file", [path])
    page.wait(SHOWN, 60)


def pick(page: Page, value: str) -> None:
    """Choose a radio button."""
    page.click(f'input[value="{value}"] + span')


def size_of(page: Page) -> int:
    """Bytes of the file in the table of numbers."""
    return int(page.text("#numbers tr.ours td").replace(",", ""))


def rows_of(page: Page, table: str) -> list[list[str]]:
    """The texts of a table's cells."""
    cells = "[...r.cells].map(c => c.innerText)"
    found: list[list[str]] = page.run(
        f"[...document.querySelectorAll('#{table} tbody tr')].map(r => {cells})"
    )
    return found


def after(page: Page, change: Callable[[], object]) -> int:
    """Change something, wait for another file, and return its bytes."""
    before = page.run("document.getElementById('right').src")
    change()
    page.wait(f"document.getElementById('right').src !== {json.dumps(before)}", 60)
    return size_of(page)


def test_sizes_and_qualities(page: Page, photograph: Path) -> None:
    choose(page, photograph)
    assert "photograph.png" in page.run("document.title")
    page.wait("document.getElementById('right').naturalWidth === 176")
    middle = size_of(page)
    low = after(page, lambda: page.slide("#quality", 10))
    high = after(page, lambda: page.slide("#quality-number", 80))
    assert low < middle < high
    assert page.run("document.getElementById('quality').value") == "80"
    pick(page, "bpp")
    page.wait("!document.getElementById('bpp-row').hidden")
    fitted = after(page, lambda: page.slide("#bpp-number", 2))
    tastes = after(page, lambda: pick(page, "ms-ssim"))
    assert tastes != fitted
    refined = after(page, lambda: page.slide("#effort", 1))
    assert page.text("#effort-number") == "1"
    assert refined == tastes
    assert page.text("#notes") == "a note"
    assert "encoded in" in page.text("#seconds")


def test_lossless(page: Page, small: Path) -> None:
    choose(page, small)
    pick(page, "lossless")
    page.wait("document.getElementById('numbers').innerText.includes('exact')", 60)
    assert "lossless" in page.text("#right-tag")
    assert page.run("document.querySelector('input[value=levels]').disabled")
    pick(page, "bits")
    page.wait("!document.getElementById('bits').hidden", 60)
    assert page.run("document.getElementById('bits-level').parentElement.hidden")
    pick(page, "quality")
    page.wait("!document.querySelector('input[value=levels]').disabled", 60)


def test_beside_other_codecs(page: Page, photograph: Path) -> None:
    choose(page, photograph)
    assert page.text("#left-tag") == "Original"
    page.wait(IDLE, 120)
    ours = size_of(page)
    for value, label in (("jpeg", "JPEG"), ("webp", "WebP"), ("avif", "AVIF")):
        pick(page, value)
        page.wait(f"document.getElementById('left-tag').innerText.startsWith('{label} ·')")
        page.wait("document.getElementById('left').naturalWidth === 176")
    rows = rows_of(page, "numbers")
    assert [row[0] for row in rows] == ["Laconic", "JPEG", "WebP", "AVIF"]
    for row in rows[1:]:
        assert int(row[1].replace(",", "")) == ours + 1
        assert float(row[3]) >= 30
        assert float(row[4]) == 10
    pick(page, "original")
    page.wait("document.getElementById('left-tag').innerText === 'Original'")


def test_level_by_level(page: Page, small: Path) -> None:
    choose(page, small)
    whole = page.run("document.getElementById('right').src")
    pick(page, "levels")
    assert page.run("document.getElementById('level').max") == "4"
    first = after(page, lambda: page.slide("#level", 1))
    assert first
    assert "bytes" in page.text("#level-note")
    page.click("#play")
    page.wait("document.getElementById('level-number').value === '4'", 60)
    page.wait("document.getElementById('play').innerText === 'Play'", 60)
    pick(page, "picture")
    page.wait(f"document.getElementById('right').src === {json.dumps(whole)}")


def test_where_the_bits_went(page: Page, small: Path) -> None:
    choose(page, small)
    pick(page, "bits")
    page.wait("!document.getElementById('bits').hidden", 60)
    page.wait("document.getElementById('bits').naturalWidth === 64")
    assert "bits per pixel" in page.text("#peak")
    every = page.text("#peak")
    page.slide("#strength", 40)
    assert page.run("getComputedStyle(document.getElementById('bits')).opacity") == "0.4"
    page.slide("#bits-level", 2)
    page.wait(f"document.getElementById('peak').innerText !== {json.dumps(every)}", 60)
    assert len(page.run("[...document.getElementById('bits-level').options].map(o => o.text)")) == 5


def transform(page: Page) -> tuple[float, float, float]:
    """Offset and scale of the picture."""
    x, y, scale = page.run(
        "(() => { const image = document.getElementById('right');"
        "const m = new DOMMatrix(getComputedStyle(image).transform); return [m.e, m.f, m.a]; })()"
    )
    return x, y, scale


def test_zoom_and_pan(page: Page, small: Path) -> None:
    choose(page, small)
    x, y = page.middle("#stage")
    fitted = transform(page)
    page.wheel(x + 40, y, -300)
    page.wait(f"document.getElementById('zoom').value !== '{round(fitted[2] * 100)} %'")
    near = transform(page)
    assert near[2] > 1.5 * fitted[2]
    left, top, *_ = page.box("#stage")
    for axis, place in enumerate((x + 40 - left, y - top)):  # The point under the mouse stays.
        before = (place - fitted[axis]) / fitted[2]
        assert (place - near[axis]) / near[2] == pytest.approx(before, abs=0.6)
    page.drag((x + 60, y), (x + 90, y + 20))
    moved = transform(page)
    assert (moved[0] - near[0], moved[1] - near[1]) == pytest.approx((30, 20), abs=1)
    page.focus("#stage")
    page.key("ArrowRight")
    assert transform(page)[0] == pytest.approx(moved[0] - 60, abs=1)
    page.click("#zoom-fit")
    assert transform(page) == pytest.approx(fitted, abs=0.5)
    page.click("#zoom-one")
    assert transform(page)[2] == 1
    page.click("#zoom-in")
    assert transform(page)[2] == 1.25
    page.click("#zoom-out")
    assert transform(page)[2] == 1
    page.click("#stage", 2)
    assert transform(page)[2] == pytest.approx(fitted[2], rel=0.01)


def test_pinch(browser: Browser, stub: Any, small: Path) -> None:
    page = open_page(browser, stub)
    page.resize(390, 800, 2, touch=True)
    choose(page, small)
    x, y = page.middle("#stage")
    before = transform(page)
    page.touch("touchStart", [(x - 20, y), (x + 20, y)])
    for apart in (30, 45, 60):
        page.touch("touchMove", [(x - apart, y), (x + apart, y)])
    page.touch("touchEnd", [])
    assert transform(page)[2] == pytest.approx(3 * before[2], rel=0.1)
    assert page.problems == []
    page.close()


def split(page: Page) -> float:
    """Place of the divider in per cent."""
    return float(page.run("document.getElementById('divider').getAttribute('aria-valuenow')"))


def test_the_divider(page: Page, small: Path) -> None:
    choose(page, small)
    assert split(page) == 50
    x, y = page.middle("#divider")
    left, _, width, _ = page.box("#stage")
    page.drag((x, y), (left + 0.2 * width, y))
    assert split(page) == pytest.approx(20, abs=1)
    assert "20" in page.run("getComputedStyle(document.getElementById('front')).clipPath")
    page.focus("#divider")
    for key, place in (("ArrowRight", 22), ("PageUp", 32), ("Home", 0), ("End", 100)):
        page.key(key)
        assert split(page) == pytest.approx(place, abs=1)


def test_keyboard(page: Page, small: Path) -> None:
    choose(page, small)
    page.run("document.activeElement.blur()")
    before = transform(page)[2]
    page.key("+")
    assert transform(page)[2] > before
    page.key("0")
    assert transform(page)[2] == pytest.approx(before)
    page.key("]")
    assert split(page) == 55
    page.key("v")
    assert page.run("document.querySelector('input[value=levels]').checked")
    page.key("c")
    assert page.run("document.querySelector('input[value=jpeg]').checked")
    page.key("?")
    page.wait("document.getElementById('help-dialog').open")
    page.click("#shortcuts")
    page.key("Escape")
    page.wait("!document.getElementById('help-dialog').open")
    page.key("]")
    assert split(page) == 55
    reached = set()
    page.run("document.activeElement.blur()")
    for _ in range(40):
        page.key("Tab")
        reached.add(page.run("document.activeElement.id || document.activeElement.name"))
    assert {"open", "open-folder", "help", "stage", "divider", "zoom-in", "mode", "quality",
            "effort", "anchor", "view", "save-lac", "save-png"} <= reached  # fmt: skip


def test_names_for_screen_readers(page: Page, small: Path) -> None:
    choose(page, small)
    pick(page, "bits")
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "radio", "spinbutton", "combobox", "checkbox", "image", "table")
    shown = [one for one in nodes if not one.get("ignored") and one["role"]["value"] in roles]
    nameless = [one["role"]["value"] for one in shown if not one.get("name", {}).get("value")]
    assert len(shown) > 20
    assert nameless == []
    assert page.run("document.documentElement.lang") == "en"
    assert page.run("document.getElementById('status').getAttribute('aria-live')") == "polite"
    assert page.run("document.getElementById('error').getAttribute('role')") == "alert"


def test_downloads_and_opening_a_file(page: Page, browser: Browser, small: Path) -> None:
    choose(page, small)
    page.click("#save-lac")
    page.click("#save-png")
    paths = [browser.downloads / f"small.{ending}" for ending in ("lac", "png")]
    for path in paths:
        wait_for(path)
    with Image.open(paths[0]) as file, Image.open(paths[1]) as shown:
        assert file.tobytes() == shown.tobytes()
    bytes_before = size_of(page)
    choose(page, paths[0])
    assert size_of(page) == bytes_before
    for name in ("target", "compare"):
        assert page.run(f"document.getElementById('{name}').disabled")
    assert page.run("document.getElementById('divider').hidden")
    pick(page, "levels")
    page.slide("#level", 1)
    page.wait(IDLE)
    choose(page, small)
    assert not page.run("document.getElementById('target').disabled")
    for path in paths:
        path.unlink()


def test_dropping_a_file_and_rubbish(page: Page, small: Path, tmp_path: Path) -> None:
    page.drop("#welcome", [small])
    page.wait(SHOWN, 60)
    rubbish = tmp_path / "rubbish.png"
    rubbish.write_bytes(b"this is no picture")
    page.drop("#stage", [rubbish])
    page.wait("!document.getElementById('error').hidden", 60)
    assert "not an image" in page.text("#error")
    assert "small.png" in page.run("document.title")
    choose(page, small)
    assert page.run("document.getElementById('error').hidden")


def test_pictures_of_the_command_line(page: Page) -> None:
    assert page.text("#given").split() == ["given-1.png", "given-2.png"]
    page.click("#given li:nth-child(2) button")
    page.wait(SHOWN, 60)
    assert "given-2.png" in page.run("document.title")


def test_a_folder_as_a_table(page: Page, browser: Browser, tmp_path: Path, png: Png) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(png(number))
    (folder / "broken.png").write_bytes(b"rubbish")
    (folder / "text.txt").write_bytes(b"not a picture at all")
    page.choose_files("#folder", [folder])
    page.wait("document.getElementById('table-stop').disabled", 120)
    assert page.text("#table-title") == "holiday"
    rows = rows_of(page, "table")
    assert [row[0] for row in rows] == ["0.png", "1.png", "broken.png"]
    assert "not an image" in rows[2][1]
    assert page.text("#table tfoot td:nth-child(4)").replace(",", "") == str(
        sum(int(row[3].replace(",", "")) for row in rows[:2])
    )
    page.click("#table-save")
    path = browser.downloads / "laconic.csv"
    wait_for(path)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("picture,width,height,bytes,lac_bytes")
    assert lines[1].startswith("0.png,64,64,")
    page.click("#table tbody tr:nth-child(2) button")
    page.wait(SHOWN, 60)
    assert "1.png" in page.run("document.title")
    page.click("#table-close")
    assert page.run("document.getElementById('table-section').hidden")


def test_work_is_stopped(page: Page, stub: Any, small: Path) -> None:
    """By Escape, and by a newer request."""
    choose(page, small)
    page.wait(IDLE, 60)
    counts = stub.desk.pool.counts
    stopped = counts["stopped"]
    page.slide("#effort", 9)
    page.wait("document.getElementById('progress').value > 0", 60)
    page.key("Escape")
    stub.wait(lambda: counts["stopped"] == stopped + 1, 20)
    page.wait(IDLE, 5)
    page.slide("#effort", 8)
    page.wait("document.getElementById('progress').value > 0", 60)
    after(page, lambda: page.slide("#effort", 0))
    assert counts["stopped"] == stopped + 2
    assert counts["killed"] == 0


@pytest.mark.slow
def test_real_work(
    real_page: Page, studio: Any, browser: Browser, photograph: Path, model_path: Path
) -> None:
    """With a model: numbers, levels, bits, a file that decodes, rubbish, and work that ends."""
    page = real_page
    choose(page, photograph)
    page.wait(IDLE, 240)
    rows = rows_of(page, "numbers")
    # The small model's file may be larger than the best quality of a classical codec.
    sizes = [float(row[1].replace(",", "")) for row in rows[1:]]
    assert len(sizes) == 3
    assert all(0 < size <= 1.25 * size_of(page) for size in sizes)
    after(page, lambda: pick(page, "ms-ssim"))
    after(page, lambda: (pick(page, "levels"), page.slide("#level", 1)))
    pick(page, "bits")
    page.wait("document.getElementById('bits').naturalWidth === 176", 60)
    page.click("#save-lac")
    path = browser.downloads / "photograph.lac"
    wait_for(path)
    assert laconic.open(path).info.file_bits == 8 * size_of(page)
    assert laconic.decompress(path, model=model_path).size == (176, 176)
    damaged = photograph.with_name("damaged.lac")
    damaged.write_bytes(path.read_bytes()[:-3])
    page.choose_files("#file", [damaged])
    page.wait("document.getElementById('error').innerText.includes('truncated')", 60)
    page.slide("#effort", 9)
    page.wait("document.getElementById('progress').value > 0.02", 120)
    page.key("Escape")
    process = psutil.Process(*studio.desk.pool.process_ids)
    studio.wait(lambda: studio.desk.pool.counts["stopped"] > 0, 20)
    before = sum(process.cpu_times()[:2])
    time.sleep(0.5)
    assert sum(process.cpu_times()[:2]) - before < 0.1


def wait_for(path: Path) -> None:
    """Wait until a download is there."""
    end = time.monotonic() + 30
    while not (path.exists() and path.stat().st_size):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_users_at_once(browser: Browser, stub: Any, tmp_path: Path, png: Png) -> None:
    pages, sizes = [open_page(browser, stub) for _ in range(2)], []
    for number, one in enumerate(pages):
        path = tmp_path / f"user-{number}.png"
        path.write_bytes(png(number, 64 + 16 * number))
        one.choose_files("#file", [path])
    for number, one in enumerate(pages):
        one.wait(SHOWN, 60)
        one.wait(f"document.getElementById('right').naturalWidth === {64 + 16 * number}")
        assert f"user-{number}.png" in one.run("document.title")
        sizes.append(size_of(one))
    for one, quality in zip(pages, (20, 80), strict=True):
        one.slide("#quality", quality)
    for one in pages:
        one.wait(IDLE, 120)
    assert size_of(pages[0]) < sizes[0]
    assert size_of(pages[1]) > sizes[1]
    for one in pages:
        assert one.problems == []
        one.close()


def memory(page: Page, process: psutil.Process) -> tuple[float, float, int]:
    """MiB of the worker and of the page's scripts, and addresses of files that the page keeps."""
    page.call("HeapProfiler.collectGarbage")
    heap = page.call("Runtime.getHeapUsage")["usedSize"] / MIB
    return process.memory_info().rss / MIB, heap, page.run("liveUrls")


@pytest.mark.slow
def test_twenty_pictures_do_not_take_more_memory(
    real_page: Page, studio: Any, tmp_path: Path, png: Png
) -> None:
    """From the 5th to the 20th: 16 MiB of the worker, 2 MiB of the page's scripts, no address."""
    page, process = real_page, psutil.Process(*studio.desk.pool.process_ids)
    measured = []
    for index in range(20):
        path = tmp_path / f"{index}.png"
        path.write_bytes(png(index, 96))
        choose(page, path)
        page.wait(IDLE, 120)
        if index in (4, 19):
            measured.append(memory(page, process))
    (worker, heap, urls), (later_worker, later_heap, later_urls) = measured
    assert later_worker - worker < 16
    assert later_heap - heap < 2
    assert later_urls == urls
    assert studio.desk.store.size_bytes < studio.desk.settings.limits.total_bytes


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_every_width(browser: Browser, stub: Any, small: Path, width: int) -> None:
    page = open_page(browser, stub)
    page.resize(width, 800, touch=width < 500)
    choose(page, small)
    for view in ("levels", "bits", "picture"):
        pick(page, view)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.run(wide) <= 0
    left, _, across, _ = page.box("#stage")
    assert left >= 0
    assert left + across <= width
    page.close()


def luminance(colour: str) -> float:
    """Relative luminance of a colour such as "rgb(1, 2, 3)" (WCAG 2)."""
    samples = [int(part) / 255 for part in colour[4:-1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in samples]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_can_be_read(page: Page, scheme: str) -> None:
    """Text has a contrast of at least 4.5 to 1."""
    page.prefer(scheme)
    page.wait("document.getAnimations().length === 0")
    pairs = page.run(
        "['h1', '#about', '#open', '#open-folder', 'legend', 'input:checked + span'].map(s => {"
        "const e = document.querySelector(s); let b = e, back = 'rgba(0, 0, 0, 0)';"
        "while (b && back === 'rgba(0, 0, 0, 0)') {"
        "back = getComputedStyle(b).backgroundColor; b = b.parentElement; }"
        "return [getComputedStyle(e).color, back]; })"
    )
    for ink, ground in pairs:
        bright, dim = sorted((luminance(ink), luminance(ground)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, ground)
    body = luminance(page.run("getComputedStyle(document.documentElement).backgroundColor"))
    assert (body > 0.5) is (scheme == "light")


def test_a_studio_that_ended_is_reported(
    browser: Browser, quick: Any, start_studio: Callable[..., Any], small: Path
) -> None:
    running = start_studio(quick)
    page = open_page(browser, next(running))
    running.close()
    page.choose_files("#file", [small])
    page.wait("!document.getElementById('error').hidden", 60)
    assert "does not answer" in page.text("#error")
    page.close()


def test_the_screenshot_is_a_picture(page: Page, small: Path) -> None:
    choose(page, small)
    assert Image.open(io.BytesIO(page.screenshot())).size == (1280, 900)
