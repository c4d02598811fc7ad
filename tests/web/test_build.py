"""The command that assembles the page."""

import json
import re
import shutil

import pytest

from keras_mscam.errors import UserError


def test_a_site_is_whole_and_the_same_from_the_same(site, build, model, tmp_path):
    index = json.loads((site / "site.json").read_text())
    files = [index["model"], index["contract"]]
    files += [runtime["wasm"] for runtime in index["runtimes"].values()]
    for item in files:
        assert (site / item["file"]).stat().st_size == item["bytes"] > 0
    for example in index["examples"]:
        assert (site / example["file"]).is_file()
        assert (site / example["thumbnail"]).is_file()
    assert len(index["examples"]) == 4
    again = build.build(model / "litert" / "float32.tflite", tmp_path / "site")
    build.build(model / "litert", again)  # over an older one
    for path in sorted(site.rglob("*")):
        if path.is_file():
            other = again / path.relative_to(site)
            assert path.read_bytes() == other.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_modules_import_each_other_by_paths_that_are_there(site):
    # No bundler looks: what a browser can't find, it says only to the console.
    statement = re.compile(r'^(?:import|.*? from) "([^"]+)"', re.MULTILINE)
    for path in site.rglob("*.js"):
        for name in statement.findall(path.read_text()):
            assert name.startswith(("./", "../")), (path, name)
            assert (path.parent / name).is_file(), (path, name)


def test_nothing_names_a_foreign_address(site):
    own = [path for path in site.rglob("*") if "vendor" not in path.parts]
    for path in own:
        if path.suffix in (".js", ".css", ".html", ".json"):
            addresses = re.findall(r"https?://[^\s\"'`<>]+", path.read_text())
            assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


@pytest.mark.parametrize(
    ("name", "said"),
    [("missing", "There is no model at"), ("empty", "holds no exported model"),
     ("foreign", "foreign is there and no site")],
)  # fmt: skip
def test_what_can_not_be_built_is_a_sentence(name, said, build, model, tmp_path):
    for folder in ("empty", "foreign"):
        (tmp_path / folder).mkdir()
    (tmp_path / "foreign" / "letter.txt").write_text("mine")
    source = model / "litert" if name == "foreign" else tmp_path / name
    output = tmp_path / ("foreign" if name == "foreign" else "site")
    with pytest.raises(UserError, match=said):
        build.build(source, output)
    assert (tmp_path / "foreign" / "letter.txt").read_text() == "mine"
    assert not (tmp_path / "site").exists()


def test_a_model_that_has_changed_is_refused(build, converted, tmp_path):
    folder = shutil.copytree(converted("litert"), tmp_path / "copy")
    file = folder / "float32.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="has changed since it was exported"):
        build.build(file, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_link_stays_and_what_it_leads_to_is_replaced(build, model, tmp_path):
    site = build.build(model / "litert", tmp_path / "www")
    (site / "left.txt").write_text("of the version before")
    (tmp_path / "site").symlink_to(site)
    assert build.build(model / "litert", tmp_path / "site") == site
    assert (tmp_path / "site").is_symlink()
    assert not (tmp_path / "site" / "left.txt").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"www", "site"}


def test_a_variant_that_is_not_there(build, model, tmp_path):
    with pytest.raises(UserError, match="holds no int8 model for LiteRT"):
        build.build(model / "litert", tmp_path / "site", "int8")


def test_lock_files_name_no_registry(build):
    for folder in (build.HERE, build.HERE / "comparison"):
        lock = json.loads((folder / "package-lock.json").read_text())
        packages = [item for name, item in lock["packages"].items() if name]
        assert packages
        for package in packages:
            assert "resolved" not in package and package["integrity"]
