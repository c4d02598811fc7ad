"""The built page in Chromium, against Python: what it shows and what it keeps."""

import base64
import json
import os
import re
import shutil

import cv2
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from keras_mscam.images.png_jpeg import JPEG_START
from keras_mscam.images.reader import read_xray
from keras_mscam.images.xray import ImageError
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit
from keras_mscam.visualization.overlay import draw_overlay

from ..images.odd_files import READABLE, REFUSED
from .test_dicom import check as check_dicom

PREFIX = "/some/where/"


@pytest.fixture(scope="module")
def chest():
    phantom = render_phantom(sample_anatomy(8, 3), sample_visit(8, 3, 0), (300, 420))
    return phantom.image


def encode(image, suffix=".png"):
    return cv2.imencode(suffix, image)[1].tobytes()


def cut_and_close(data):
    """Leave the second half of a JPEG out, and put its end marker there."""
    return data[: len(data) // 2] + b"\xff\xd9"


def open_page(chromium, address):
    """Open the page; `asked` is whatever the browser asks for from then on."""
    context = chromium.new_context()
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.asked, page.errors = [], []
    context.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(address)
    page.get_by_text("Ready.").wait_for()
    return page


@pytest.fixture(scope="module")
def opened(chromium, site, serve_all):
    address, _ = serve_all(site, PREFIX)
    page = open_page(chromium, address)
    yield page
    page.context.close()


@pytest.fixture
def page(opened):
    """The page, which keeps what tests before showed, as it would for a person."""
    opened.set_viewport_size({"width": 1200, "height": 800})
    opened.emulate_media(color_scheme="light")
    yield opened
    assert opened.errors == []


def drop(page, *files, event="drop"):
    """Drop, or paste, files of `(name, bytes)`; what was said before is wiped away."""
    page.locator("#status").evaluate("status => { status.textContent = ''; }")
    transfer = page.evaluate_handle(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, content] of files) {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            transfer.items.add(new File([bytes], name));
          }
          return transfer;
        }""",
        [[name, base64.b64encode(data).decode()] for name, data in files],
    )
    if event == "drop":
        page.dispatch_event("#viewer", "drop", {"dataTransfer": transfer})
        return
    page.evaluate(
        """(clipboardData) => document.body.dispatchEvent(
          new ClipboardEvent("paste", {clipboardData, bubbles: true}))""",
        transfer,
    )


def wait_until_drawn(page):
    """The viewer draws in the next frame; that one is over when another begins."""
    frame = "new Promise((done) => requestAnimationFrame(done))"
    page.evaluate(f"{frame}.then(() => {frame})")


def wait_for(page, name):
    page.locator("#status", has_text=name).filter(
        has_text=re.compile("alled")
    ).wait_for()


def save(page, button):
    with page.expect_download() as caught:
        page.get_by_role("button", name=button).click()
    return caught.value.path().read_bytes()


def compare(page, data, predictor):
    """Compare the saved numbers with Python's; returns the prediction."""
    expected = predictor.predict(data)
    shown, plain = json.loads(save(page, "Numbers")), expected.to_dict()
    assert list(shown) == list(plain)
    geometry = ("original_size", "pixel_spacing", "spacing_plane", "field")
    for name in (*geometry, "warnings", "error"):
        assert shown[name] == plain[name]
    assert shown["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-3)
    assert len(shown["boxes"]) == len(plain["boxes"]) > 0
    for one, other in zip(shown["boxes"], plain["boxes"], strict=True):
        assert one["pathology"] == other["pathology"]
        assert one["xyxy"] == pytest.approx(other["xyxy"], abs=1)
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)
    return expected


def read_table(page):
    rows = page.locator("#boxes tbody tr").all_inner_texts()
    return [row.split() for row in rows]


def correlate(one, other):
    """Correlate how colourful two RGB pictures are, red minus blue, place by place."""
    first, second = (
        cv2.GaussianBlur(picture.astype("float32"), (0, 0), 2)
        for picture in (one, other)
    )
    colour = [picture[..., 0] - picture[..., 2] for picture in (first, second)]
    return np.corrcoef(colour[0].ravel(), colour[1].ravel())[0, 1]


def decode_rgb(data):
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def check_pictures(page, pixels, prediction):
    """Compare the saved picture and the one on the screen with `draw_overlay`."""
    name = page.locator(".finding:has(:checked) span").first.inner_text()
    expected = draw_overlay(pixels, prediction, name)
    saved = decode_rgb(save(page, "Picture"))
    assert saved.shape == expected.shape
    assert np.abs(saved.astype(int) - expected).mean() < 3
    assert correlate(saved, expected) > 0.97
    seen = decode_rgb(page.locator("#canvas").screenshot())
    height, width = pixels.shape
    scale = min(seen.shape[0] / height, seen.shape[1] / width)
    size = round(width * scale), round(height * scale)
    left, top = (seen.shape[1] - size[0]) // 2, (seen.shape[0] - size[1]) // 2
    # The legend covers the lowest part.
    part = seen[top : top + size[1], left : left + size[0]][: int(0.9 * size[1])]
    large = cv2.resize(expected, size, interpolation=cv2.INTER_LINEAR)[: len(part)]
    assert correlate(part, large) > 0.97


def test_a_png_file_that_is_dropped(page, chest, predictor):
    data = encode(chest)
    drop(page, ("chest.png", data), ("other.png", data))
    wait_for(page, "chest.png")
    assert page.locator("#error").inner_text() == (
        "One X-ray at a time: the other one was left out."
    )
    prediction = compare(page, data, predictor)
    check_pictures(page, chest, prediction)
    names = page.locator(".finding span:first-of-type").all_inner_texts()
    values = prediction.probabilities
    assert names == sorted(values, key=lambda name: -values[name])


def test_a_real_x_ray_that_is_pasted(page, shared, predictor):
    path = sorted((shared / "chestxray14-sample/images").glob("*.png"))[1]
    data = path.read_bytes()
    drop(page, ("real.png", data), event="paste")
    wait_for(page, "real.png")
    check_pictures(page, read_xray(data).pixels, compare(page, data, predictor))


def test_dicom_files_that_are_picked(page, chest, predictor, dicom, tmp_path):
    elements = {
        "ImagerPixelSpacing": ["0.2", "0.1"], "CollimatorShape": "RECTANGULAR",
        "CollimatorLeftVerticalEdge": "21", "CollimatorRightVerticalEdge": "400",
        "CollimatorUpperHorizontalEdge": "11", "CollimatorLowerHorizontalEdge": "290",
        "PhotometricInterpretation": "MONOCHROME1",
    }  # fmt: skip
    file = tmp_path / "chest.dcm"
    file.write_bytes(dicom(4000 - chest.astype(int) * 15, 12, **elements))
    page.set_input_files("#file", file)
    wait_for(page, "chest.dcm")
    prediction = compare(page, file.read_bytes(), predictor)
    assert prediction.field == (20, 10, 400, 290)
    check_pictures(page, read_xray(file).pixels, prediction)
    assert "Only the part" in page.locator("#status").inner_text()


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_colour_is_read_as_in_python(suffix, page, chest, predictor):
    image = cv2.applyColorMap(chest, cv2.COLORMAP_BONE)
    if suffix == ".png":  # two of the files of ChestX-ray14's sample are RGBA
        image = np.dstack([image, np.full_like(chest, 255)])
    data = encode(image, suffix)
    drop(page, ("colour" + suffix, data))
    wait_for(page, "colour")
    compare(page, data, predictor)


def test_odd_grey_values_are_said(page, chest, predictor):
    for name, image in {
        "dark": chest.astype("uint16") * 16,
        "inverse": 255 - chest,
    }.items():
        drop(page, (f"{name}.png", encode(image)))
        wait_for(page, f"{name}.png")
        (sentence,) = compare(page, encode(image), predictor).warnings
        assert sentence in page.locator("#status").inner_text()


def test_boxes_follow_the_threshold(page, chest):
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    own = read_table(page)
    areas = []
    for threshold in (86, 91, 96):
        page.locator("#threshold").fill(str(threshold))
        assert page.locator("#threshold-value").inner_text() == f"0.{threshold}"
        rows = read_table(page)
        areas.append(max(int(row[2]) * int(row[3]) for row in rows))
    assert areas[0] > areas[1] > areas[2] > 0
    said = json.loads(save(page, "Numbers"))["warnings"]
    name = page.locator(".finding:has(:checked) span").first.inner_text()
    assert said == [f"Boxes of {name} are at threshold 0.96, set by hand."]
    page.locator("#threshold").fill("10")  # nearly all of the map is above it
    assert read_table(page) == []
    assert "points nowhere" in page.locator("#boxes-note").inner_text()
    page.get_by_role("button", name="Model's own").press("Enter")
    assert read_table(page) == own
    # The button has no more to do; whoever uses the keyboard is not sent to the start.
    assert page.locator("#threshold").evaluate("e => e === document.activeElement")
    value = page.locator("#threshold").get_attribute("aria-valuetext")
    assert value == page.locator("#threshold-value").inner_text()
    assert json.loads(save(page, "Numbers"))["warnings"] == []
    # What is not called has no box, whatever the threshold.
    page.get_by_role("radio", name=re.compile("Nodule")).check(force=True)
    assert read_table(page) == []
    assert "below its threshold" in page.locator("#boxes-note").inner_text()


def test_maps_of_the_blocks(page, chest, predictor):
    data = encode(chest)
    drop(page, ("chest.png", data))
    wait_for(page, "chest.png")
    weights = predictor.runtime.contract.relevance_weights
    name = page.locator(".finding:has(:checked) span").first.inner_text()
    column = predictor.runtime.contract.pathologies.index(name)
    texts = page.locator(".block").all_inner_texts()
    assert len(texts) == 4
    for text, row in zip(texts, weights, strict=False):
        assert f"{row[column]:.2f}" in text
    shares = [int(re.search(r"(\d+)%", text)[1]) for text in texts[:3]]
    assert sum(shares) == pytest.approx(100, abs=2)
    before = page.locator("#canvas").screenshot()
    page.get_by_role("radio", name=re.compile("Block 2")).check(force=True)
    label = page.locator("#canvas").get_attribute("aria-label")
    assert "map of block 2" in label
    wait_until_drawn(page)
    assert page.locator("#canvas").screenshot() != before


@pytest.mark.parametrize(
    "name, data, reason",
    [
        ("a.txt", b"hello", "a.txt is not a PNG, JPEG or DICOM image."),
        ("b.png", b"", "b.png is empty."),
        ("c.png", encode(np.eye(50, dtype="uint8"))[:-20],
         "c.png is damaged: the end of its PNG data is missing."),
        ("d.jpg", encode(np.eye(50, dtype="uint8"), ".jpg")[:-20],
         "d.jpg is damaged: the end of its JPEG data is missing."),
        ("half.jpg", cut_and_close(encode(np.eye(200, dtype="uint8") * 99, ".jpg")),
         "half.jpg is damaged: a part of its JPEG data is missing."),
        ("<b>e.dcm", bytes(128) + b"DICM" + b"\0" * 40,
         "<b>e.dcm is a DICOM file without pixels."),
    ],
)  # fmt: skip
def test_bad_files_are_a_sentence_and_the_page_goes_on(name, data, reason, page, chest):
    drop(page, (name, data))
    page.locator("#error", has_text=name).wait_for()
    assert page.locator("#error").inner_text() == reason
    assert page.locator("#progress").is_hidden()
    drop(page, ("good.png", encode(chest)))
    wait_for(page, "good.png")
    assert page.locator("#error").inner_text() == ""
    # What is shown is named, also behind a file that was refused.
    drop(page, (name, data))
    page.locator("#error", has_text=name).wait_for()
    assert page.locator("#status").inner_text().startswith("good.png. Called: ")


READ = """async (content) => {
  const { readImage } = await import("./reading/read_image.js");
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const say = (error) => ({ error: error.message });
  const xray = await readImage(bytes).catch(say);
  return xray.error ? xray : { ...xray, pixels: Array.from(xray.pixels) };
}"""


#: Which of them lets black be 0, and which doesn't, browsers don't ask.
UNLIKE = "JPEG in CMYK, not Adobe's"


@pytest.mark.parametrize("name", sorted({*READABLE, *REFUSED} - {UNLIKE}))
def test_files_are_read_or_refused_as_in_python(name, page):
    data = (READABLE | REFUSED)[name]
    answer = page.evaluate(READ, base64.b64encode(data).decode())
    try:
        expected = read_xray(data)
    except ImageError as error:
        # The browser says of JPEG files only that it can't decode them.
        if data.startswith(JPEG_START):
            assert answer["error"].startswith(("is ", "has "))
        else:
            assert answer["error"] == str(error)
        return
    assert "error" not in answer, answer
    found = np.reshape(answer["pixels"], answer["size"])
    tolerance = 4 if data.startswith(JPEG_START) else 0
    assert np.abs(found - expected.pixels).max() <= tolerance
    assert answer["warnings"] == list(expected.frame.warnings)


BASELINE = {
    "grey": (0, {}),
    "8 of 16 bits": (0, {"BitsAllocated": 16}),
    "signed": (0, {"PixelRepresentation": 1}),
    "colour": (1, {}),
    "colour of 12 bits": (1, {"BitsStored": 12}),
    "colour of no bits": (1, {"BitsStored": 0}),
    "colour of 8 of 16 bits": (1, {"BitsAllocated": 16}),
    "signed colour": (1, {"PixelRepresentation": 1}),
    "colour with a window": (1, {"WindowCenter": "40", "WindowWidth": "80"}),
    "colour, inverted": (1, {"PresentationLUTShape": "INVERSE"}),
    "colour with a slope of 0": (1, {"RescaleSlope": "0", "RescaleIntercept": "1"}),
    "grey around colour": (1, {"PhotometricInterpretation": "MONOCHROME2",
                               "SamplesPerPixel": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", BASELINE)
def test_jpeg_inside_of_dicom_is_read_or_refused_as_in_python(name, page, chest, dicom):
    is_colour, elements = BASELINE[name]
    colour = np.stack([chest, chest // 2 + 60, 255 - chest], axis=-1)
    pixels = colour if is_colour else chest
    data = dicom(
        pixels, 8, syntax=JPEGBaseline8Bit,
        **{"PhotometricInterpretation": "YBR_FULL_422" if is_colour else "MONOCHROME2",
           "PixelData": encapsulate([encode(pixels, ".jpg")]),
           "PlanarConfiguration": 0, **elements},
    )  # fmt: skip
    page.add_script_tag(url="vendor/dicom-parser.js")  # which the worker has
    answer = page.evaluate(READ, base64.b64encode(data).decode())
    check_dicom(data, answer, tolerance=4)


def test_a_browser_that_changes_canvases_is_noticed(page, chest):
    reasons = page.evaluate(
        """async (bytes) => {
          const { readJpeg } = await import("./reading/jpeg.js");
          const { savePicture } = await import("./view/save.js");
          const say = (work) => work.then(() => "", (error) => error.message);
          const kinds = [CanvasRenderingContext2D, OffscreenCanvasRenderingContext2D];
          const plain = kinds.map((kind) => kind.prototype.getImageData);
          kinds.forEach((kind, at) => {
            kind.prototype.getImageData = function (...box) {
              const image = plain[at].apply(this, box);
              image.data[8] ^= 1;
              return image;
            };
          });
          const canvas = document.createElement("canvas");
          const said = [
            await say(readJpeg(Uint8Array.from(bytes))),
            await say(savePicture(canvas, "a.png", "Mass")),
          ];
          kinds.forEach((kind, at) => (kind.prototype.getImageData = plain[at]));
          return said;
        }""",
        list(encode(chest, ".jpg")),
    )
    assert all("this browser changes" in reason for reason in reasons), reasons


@pytest.mark.parametrize("lacking", ["WebAssembly", "SIMD"])
def test_a_browser_that_can_not_run_the_model_is_told(lacking, page):
    reason = page.evaluate(
        """async (lacking) => {
          const { loadModel } = await import("./model.js");
          const kept = WebAssembly;
          globalThis.WebAssembly =
            lacking === "SIMD" ? { validate: () => false } : undefined;
          const said = await loadModel(new URL(location), () => {}).catch(String);
          globalThis.WebAssembly = kept;
          return said;
        }""",
        lacking,
    )
    assert reason.startswith("Error: this browser") and lacking in reason


def wait_until_kept(page):
    """The page is ready without its service worker, too, where that takes long."""
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.reload()
    page.get_by_text("Ready.").wait_for()
    page.wait_for_function(
        """() => Promise.all(["model/model.tflite", "vendor/dicom-parser.js"]
          .map((file) => caches.match(file))).then((kept) => kept.every(Boolean))"""
    )


def test_it_works_offline_after_the_first_load(chromium, site, serve):
    address, _ = serve(site, PREFIX)
    page = open_page(chromium, address)
    wait_until_kept(page)
    serve.stop()
    page.context.set_offline(True)
    page.goto(address)
    page.get_by_text("Ready.").wait_for()
    page.locator("#examples button").first.click()
    wait_for(page, "phantom-1.png")
    assert page.errors == []
    page.context.close()


def test_other_pages_of_the_origin_are_left_alone(chromium, site, serve, tmp_path):
    """At the root of an origin, others may lie beside the site."""
    folder = shutil.copytree(site, tmp_path / "site")
    (folder / "other.html").write_text("before")
    address, _ = serve(folder, "/")
    page = open_page(chromium, address)
    wait_until_kept(page)
    read = "fetch('other.html', { cache: 'no-cache' }).then((r) => r.text())"
    assert page.evaluate(read) == "before"
    (folder / "other.html").write_text("after")
    assert page.evaluate(read) == "after"
    kept = page.evaluate(
        "caches.match('other.html').then((kept) => kept === undefined)"
    )
    assert kept
    page.context.close()


def test_an_update_works_offline_too_and_says_that_it_is_there(
    chromium, site, build, serve, tmp_path
):
    folder = shutil.copytree(site, tmp_path / "site")
    # A browser's HTTP cache keeps a file without an expiry date for a tenth of its age.
    for path in folder.rglob("*"):
        os.utime(path, (0, 0))
    address, _ = serve(folder, PREFIX)
    page = open_page(chromium, address)
    wait_until_kept(page)
    index = json.loads((folder / "site.json").read_text())
    title = "Another radiograph"
    build.write_index(folder, [{**index["examples"][0], "title": title}])
    page.reload()
    page.get_by_text("A newer version of this page").wait_for(timeout=60_000)
    assert page.locator("#examples button").count() == 4
    context, _ = page.context, page.close()
    serve.stop()
    context.set_offline(True)
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Ready.").wait_for(timeout=20_000)
    assert page.locator("#examples button").get_attribute("title") == title
    context.close()


def test_a_model_of_another_version_is_refused_and_left_behind(
    chromium, site, serve, tmp_path, chest
):
    folder = shutil.copytree(site, tmp_path / "site")
    model = folder / "model" / "model.tflite"
    whole = model.read_bytes()
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # of the same size
    address, _ = serve(folder, PREFIX)
    context = chromium.new_context()
    page = context.new_page()
    page.goto(address)
    page.get_by_text("or of another version than this page").wait_for()
    drop(page, ("chest.png", encode(chest)))
    reason = page.locator("#error").inner_text()
    assert reason.startswith("The model can't be loaded: ")
    model.write_bytes(whole)
    page.reload()  # whatever the service worker has kept
    page.get_by_text("Ready.").wait_for()
    context.close()


def test_a_site_without_its_model_says_so(chromium, site, serve, tmp_path):
    folder = shutil.copytree(site, tmp_path / "site")
    (folder / "model" / "model.tflite").unlink()
    address, _ = serve(folder, PREFIX)
    page = chromium.new_page()
    page.goto(address)
    page.locator("#error", has_text="(status 404)").wait_for()
    assert page.locator("#status").inner_text() == "The model is not there."
    page.context.close()


def test_no_request_leaves_the_origin_and_the_policy_forbids_any(page, chest, serve):
    elsewhere, asked = serve(".", "/")
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    own = page.url.removesuffix(PREFIX)
    assert page.asked
    assert all(url.startswith((own, f"blob:{own}")) for url in page.asked)
    # Of what is asked for after the file came, nothing carries data.
    attempt = (
        "(url) => fetch(url, {method: 'POST', mode: 'no-cors', body: 'x'})"
        ".then(() => 'sent', () => 'blocked')"
    )
    assert len(page.workers) == 1
    own_file = page.url + "site.json"
    for place in (page, page.workers[0]):
        assert place.evaluate(attempt, elsewhere) == "blocked"
        assert place.evaluate(f"() => fetch('{own_file}').then((r) => r.status)") == 200
    image = (
        "(url) => new Promise((done) => { const image = new Image();"
        "image.onload = () => done('sent'); image.onerror = () => done('blocked');"
        "image.src = url; })"
    )
    assert page.evaluate(image, elsewhere) == "blocked"
    assert asked == []


def test_keyboard_and_zoom(page, chest):
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    seen = []
    page.locator("#viewer").focus()
    for key in ("0", "+", "ArrowRight", "Shift+ArrowUp", "0"):
        page.keyboard.press(key)
        wait_until_drawn(page)
        seen.append(page.locator("#canvas").screenshot())
    assert len(set(seen)) == 5  # the window stays changed
    page.get_by_role("button", name="Reset").press("Enter")
    page.locator("#viewer").focus()
    wait_until_drawn(page)
    assert page.locator("#canvas").screenshot() == seen[0]
    page.locator(".finding :checked").focus()
    first = page.locator("#canvas").get_attribute("aria-label")
    page.keyboard.press("ArrowDown")
    assert page.locator("#canvas").get_attribute("aria-label") != first
    page.keyboard.press("ArrowDown")  # the focus went along
    assert page.locator(".finding :checked").evaluate(
        "e => e === document.activeElement"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility_and_a_phone_s_width(scheme, page, chest, build):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.evaluate((build.MODULES / "axe-core/axe.min.js").read_text())
    found = page.evaluate("axe.run()")
    wrong = [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    assert not wrong, "\n".join(wrong)


def test_a_phone_on_its_side_shows_picture_and_findings_together(page, chest):
    page.set_viewport_size({"width": 740, "height": 360})
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    for place in ("#canvas", "#status", ".finding:first-of-type"):
        box = page.locator(place).first.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 740
        assert box["y"] >= 0 and box["y"] + box["height"] <= 360
    assert page.evaluate("document.documentElement.scrollWidth") == 740
    # The X-ray stays where it is while the rest is scrolled.
    page.locator("#save-json").scroll_into_view_if_needed()
    assert page.locator("#canvas").bounding_box()["y"] == 0


def test_what_is_chosen_is_seen_where_the_system_sets_the_colours(page, chest):
    page.emulate_media(forced_colors="active")
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    page.locator("#viewer").focus()
    for group in (".finding", ".block"):
        styles = page.locator(group).evaluate_all(
            "all => all.map((e) => getComputedStyle(e).outlineStyle)"
        )
        assert styles.count("solid") == 1, (group, styles)
    page.emulate_media(forced_colors="none")


def test_another_x_ray_leaves_the_focus_where_it_is(page, chest):
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    page.locator("#threshold").focus()
    drop(page, ("chest.png", encode(chest)))
    wait_for(page, "chest.png")
    assert page.locator("#threshold").evaluate("e => e === document.activeElement")
