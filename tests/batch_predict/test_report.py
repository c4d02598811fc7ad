import re

import numpy as np

from keras_mscam.batch_predict.outputs import render_report

TIMES = "\N{MULTIPLICATION SIGN}"
PICTURE = np.full((60, 40), 100, "uint8")


def render(prediction, path="a/1.png", pathologies=("Mass", "Effusion")):
    return render_report("toy", path, PICTURE, prediction, pathologies)


def test_says_all(prediction):
    box = prediction(
        boxes=[(10.0, 5.0, 30.0, 35.0)],
        warnings=("It is lateral.",),
        pixel_spacing=(0.2, 0.1),
        spacing_plane="detector",
    )
    html = render(box)
    text = " ".join(re.sub(r"<[^>]*>", " ", html).split())
    assert "Mass positive 0.750 0.125" in text
    assert "Nodule 0.333 never" in text
    # 20 x 30 pixels of 0.1 x 0.2 mm.
    assert "Mass 0.500 10 5 30 35 2.0 6.0" in text
    assert (
        "It is lateral." in text and f"0.2 {TIMES} 0.1 mm each at the detector" in text
    )
    assert f"Block 2, 30 {TIMES} 20 relevance weight 1.00" in text
    assert "Not a medical device" in text and "model toy" in text


def test_needs_nothing_beside_it(prediction):
    html = render(prediction())
    sources = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert len(sources) == 1 + 2 * 2 + 1  # X-ray, overlays, a block each, used again
    assert all(s.startswith(("data:image/jpeg;base64,", "#xray")) for s in sources)
    assert "url(" not in html and "http" not in html


def test_names_are_text(prediction):
    html = render(prediction(), path="a/<script>alert(1)</script>.png")
    assert "<script" not in html


def test_nothing_positive(prediction):
    html = render(prediction(), pathologies=())
    # The most probable one is shown in place.
    assert html.count('alt="Heat map') == 1 and "of Mass over the X-ray" in html


def test_a_positive_pathology_without_a_box_is_said(prediction):
    html = render(prediction(boxes=[(10.0, 5.0, 30.0, 35.0)]))  # of Mass
    assert html.count("<figcaption>Heat map and boxes<") == 1
    assert html.count("<figcaption>Heat map; no box, as no place stands out<") == 1
    assert "A box holds a region of the heat map above 0.5 " in html
    none = render(prediction())
    assert "<p>None.</p>" in none and "A box holds a region" in none
