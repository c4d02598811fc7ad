"""The index as Chromium shows it."""

import json
from pathlib import Path

import pytest

from keras_mscam.batch_predict.index import Summary, write_tables

CHROMIUM = "/usr/bin/chromium"
MARKUP = "a/<img src=x onerror=document.title='bad'>\n\udcff.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Mass of the n-th of 100 images is n thousandths, and positive from 50 on."""
    folder = tmp_path_factory.mktemp("results")
    results = [
        {
            "path": f"a/{number}.png",
            "status": "read",
            "stamp": [3, 7],
            "original_size": [60, 40],
            "boxes": [],
            "files": {},
            "name": str(number),
            "probabilities": {"Effusion": 0.5, "Mass": number / 1000},
            "positives": ["Mass"] * (number >= 50),
            "warnings": ["It is lateral."] * (number == 7),
        }
        for number in range(100)
    ]
    results.append(
        {"path": MARKUP, "status": "refused", "stamp": None, "error": "is empty"}
    )
    lines = "".join(json.dumps(result) + "\n" for result in results)
    (folder / "predictions.jsonl").write_text(lines)
    write_tables(Summary(folder), ("Effusion", "Mass"), "toy", html=True)
    (folder / "reports").mkdir()
    for number in range(100):
        (folder / "reports" / f"{number}.html").write_text("<title>report</title>")
    return folder


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).is_file():
        pytest.skip(f"needs {CHROMIUM}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser, folder):
    page = browser.new_page()
    page.goto((folder / "index.html").as_uri())
    yield page
    page.close()


def list_titles(page):
    return page.locator("#cards b").all_inner_texts()


def test_sort_filter_and_turn(page):
    files = [f"{number}.png" for number in range(100)]
    assert list_titles(page) == files[:60]
    page.select_option("#sort", label="Mass")
    assert list_titles(page) == files[99:39:-1]
    page.click("#after")
    # Those without a probability come last.
    assert list_titles(page)[:40] == files[39::-1] and len(list_titles(page)) == 41
    page.select_option("#show", label="positive: Mass")
    assert list_titles(page) == files[99:49:-1]
    page.select_option("#show", label="with warnings")
    assert list_titles(page) == ["7.png"]
    page.select_option("#show", label="all")
    page.fill("#text", "LATERAL")
    assert list_titles(page) == ["7.png"]


def test_name_is_no_markup(page):
    page.select_option("#show", label="refused")
    assert page.locator("#cards li").count() == 1
    assert page.locator("#cards img").count() == 0
    assert "is empty" in page.locator("#cards").inner_text()
    assert page.title() != "bad"


def test_back_from_a_report_and_anew(page):
    page.select_option("#sort", label="Mass")
    page.select_option("#show", label="any positive")
    page.fill("#text", ".png")
    before = list_titles(page)
    assert before[0] == "99.png"
    page.locator("#cards a").first.click()
    page.wait_for_function("document.title == 'report'")
    for move in (page.go_back, page.reload):
        move()
        assert list_titles(page) == before
        chosen = [page.input_value(f"#{name}") for name in ("sort", "show", "text")]
        assert chosen == ["1", "any", ".png"]


@pytest.mark.parametrize(
    ("state", "number"),
    [("#page=99", 2), ("#show=x&sort=y&page=z", 1), ("#%", 1), ("#page=2", 2)],
)
def test_any_address(page, state, number):
    page.evaluate("state => { location.hash = state; }", state)
    # It puts what it made of it in its place.
    page.wait_for_function(
        "page => location.hash.includes('sort=') && location.hash.includes(page)",
        arg=f"page={number}",
    )
    expected = 41 if number == 2 else 60
    assert page.locator("#cards li").count() == expected
    assert page.input_value("#show") == "all"


def test_numbers_stay_whole_on_a_telephone(page):
    page.set_viewport_size({"width": 320, "height": 600})
    page.select_option("#sort", label="Effusion")
    number = page.locator(".value :last-child").first
    assert number.inner_text() == "0.500"
    assert number.bounding_box()["height"] < 30  # one line of 13 pixels
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
