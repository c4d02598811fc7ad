"""Assemble the page and a model into a folder that any web server can serve.

    python export/web/build.py MODEL --output site

`MODEL` is what keras_mscam-export made with `--formats litert`, or one `.tflite` file
of it. The page's few libraries come from npm, pinned by `package-lock.json`.
"""

import argparse
import fcntl
import hashlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import cv2
import numpy as np

from keras_mscam.errors import UserError, command
from keras_mscam.inference.contract import FILE, Contract
from keras_mscam.inference.export_folder import find_formats
from keras_mscam.inference.runtimes.converted import read_verified_contract
from keras_mscam.phantom import render_phantom, sample_anatomy, sample_visit

HERE = Path(__file__).resolve().parent
PAGE, MODULES = HERE / "page", HERE / "node_modules"

#: Name in the folder `vendor` of the site, and where npm puts it.
VENDORED = {
    "litert.js": "@litertjs/core/dist/index.js",
    "litert-wasm-utils.js": "@litertjs/wasm-utils/dist/index.js",
    "litert_wasm_internal.js": "@litertjs/core/wasm/litert_wasm_internal.js",
    "litert_wasm_internal.wasm": "@litertjs/core/wasm/litert_wasm_internal.wasm",
    "litert_wasm_compat_internal.js": (
        "@litertjs/core/wasm/litert_wasm_compat_internal.js"
    ),
    "litert_wasm_compat_internal.wasm": (
        "@litertjs/core/wasm/litert_wasm_compat_internal.wasm"
    ),
    "dicom-parser.js": "dicom-parser/dist/dicomParser.min.js",
    "jpeg-lossless.js": "jpeg-lossless-decoder-js/release/lossless.js",
}
#: A browser knows no bare names of packages, least of all in a worker.
IMPORT = ('"@litertjs/wasm-utils"', '"./litert-wasm-utils.js"')
RUNTIMES = {
    "relaxed": "litert_wasm_internal",
    "compatible": "litert_wasm_compat_internal",
}

#: Kept for offline use when they are fetched; all else is at once.
LATE = (".wasm", ".tflite")
EXAMPLES, SEED, LONGEST_SIDE, THUMBNAIL = 4, 2018, 768, 112


def build(model: Path, output: Path, variant: str = "float32") -> Path:
    """Assemble the site; it appears whole or not at all.

    Args:
        model: a `.tflite` file with `contract.json` beside it, or an export.
        output: folder to make; an older site there is replaced.
        variant: file of the export to take, `float32`, `float16` or `int8`.

    Returns:
        The folder; where `output` is a link, what it leads to.

    Raises:
        UserError: there is no such model, or it has changed since it was exported; npm
            fails, or `output` is something else.
    """
    file = find_model(Path(model), variant)
    contract = read_verified_contract(file)
    output = Path(output).resolve()  # a link stays, and what it leads to is replaced
    is_site = (output / "site.json").is_file()
    is_empty = output.is_dir() and not any(output.iterdir())
    if output.exists() and not is_site and not is_empty:
        raise UserError(f"{output} is there and no site: give another --output.")
    install()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        site = Path(temporary) / "site"
        shutil.copytree(PAGE, site)
        copy_vendored(site / "vendor")
        copy_licences(site / "vendor")
        (site / "model").mkdir()
        shutil.copyfile(file, site / "model" / "model.tflite")
        (site / "model" / FILE).write_text(contract.dump(), encoding="utf-8")
        examples = draw_examples(contract, site / "examples")
        write_index(site, examples)
        site.chmod(0o755)
        if output.exists():
            output.rename(Path(temporary) / "old")
        site.rename(output)
    return output


def find_model(path: Path, variant: str) -> Path:
    """Find the LiteRT file of an export."""
    if path.suffix == ".tflite" and path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"There is no model at {path}.")
    # A folder of files beside their contract, too, as tests make it.
    folder = path if (path / FILE).is_file() else find_formats(path).get("litert")
    if folder is None or not (folder / f"{variant}.tflite").is_file():
        raise UserError(
            f"{path} holds no {variant} model for LiteRT; keras_mscam-export with "
            "--formats litert makes one."
        )
    return folder / f"{variant}.tflite"


def install() -> None:
    """Get the libraries by npm, unless those of the lock file are there."""
    with (HERE / "package-lock.json").open(encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # two at once would spoil each other's
        _install()


def _install() -> None:
    lock = MODULES / ".package-lock.json"
    wanted = json.loads((HERE / "package-lock.json").read_bytes())["packages"]
    found = json.loads(lock.read_bytes())["packages"] if lock.is_file() else {}
    if all(
        found.get(name, {}).get("version") == package.get("version")
        for name, package in wanted.items()
        if name and not package.get("optional")
    ):
        return
    if shutil.which("npm") is None:
        raise UserError("npm is missing; install Node.js 20 or newer.")
    done = subprocess.run(
        ["npm", "ci"], cwd=HERE, capture_output=True, encoding="utf-8", errors="replace"
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"npm ci failed in {HERE}: {last}")


def copy_vendored(folder: Path) -> None:
    folder.mkdir()
    for name, source in VENDORED.items():
        content = (MODULES / source).read_bytes()
        if name.endswith(".js"):
            lines = content.decode().splitlines()
            kept = [line for line in lines if not line.startswith("//# sourceMapping")]
            content = "\n".join([*kept, ""]).replace(*IMPORT).encode()
        (folder / name).write_bytes(content)


def copy_licences(folder: Path) -> None:
    """Write which libraries are in the folder, and under what."""
    packages = json.loads((MODULES / ".package-lock.json").read_bytes())["packages"]
    places = [source.split("/") for source in VENDORED.values()]
    names = {"/".join(parts[: 1 + parts[0].startswith("@")]) for parts in places}
    notices = []
    for name in sorted(names):
        package = packages[f"node_modules/{name}"]
        licence = package.get("license") or "see its source"
        text = MODULES / name / "LICENSE"
        # Those without a text of their own are under that of this project.
        text = text if text.is_file() else HERE.parents[1] / "LICENSE"
        title = f"{name} {package['version']} ({licence})"
        notices.append(f"{title}\n\n{text.read_text(encoding='utf-8')}")
    (folder / "LICENSES.txt").write_text("\n\n".join(notices), encoding="utf-8")


def draw_examples(contract: Contract, folder: Path) -> list[dict]:
    """Draw chests of nobody that differ in what they show, and thumbnails."""
    folder.mkdir()
    height, width = contract.image_size
    factor = LONGEST_SIDE / max(height, width)
    size = round(height * factor), round(width * factor)
    examples: list[dict] = []
    shown: set[str] = set()
    for patient in range(10_000):
        visit = sample_visit(SEED, patient, 0)
        phantom = render_phantom(sample_anatomy(SEED, patient), visit, size)
        names = {lesion.pathology for lesion in phantom.lesions}
        if not names or len(names) > 2 or names & shown:
            continue
        shown |= names
        number = len(examples) + 1
        examples.append(
            {
                "file": f"examples/phantom-{number}.png",
                "thumbnail": f"examples/thumbnail-{number}.png",
                "title": f"Synthetic radiograph {number}: {', '.join(sorted(names))}",
            }
        )
        _write_png(folder / f"phantom-{number}.png", phantom.image)
        small = THUMBNAIL / max(size)
        shape = round(size[1] * small), round(size[0] * small)
        thumbnail = cv2.resize(phantom.image, shape, interpolation=cv2.INTER_AREA)
        _write_png(folder / f"thumbnail-{number}.png", thumbnail)
        if len(examples) == EXAMPLES:
            break
    return examples


def _write_png(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise UserError(f"{path} can't be written.")


def write_index(site: Path, examples: list[dict]) -> None:
    """Write what the page loads, and what the service worker keeps."""

    def describe(name: str) -> dict:
        content = (site / name).read_bytes()
        checksum = hashlib.sha256(content).hexdigest()
        return {"file": name, "bytes": len(content), "sha256": checksum}

    index = {
        "model": describe("model/model.tflite"),
        "contract": describe(f"model/{FILE}"),
        "runtimes": {
            kind: {
                "script": f"vendor/{name}.js",
                "wasm": describe(f"vendor/{name}.wasm"),
            }
            for kind, name in RUNTIMES.items()
        },
        "examples": examples,
    }
    (site / "site.json").write_text(
        json.dumps(index, indent=1) + "\n", encoding="utf-8"
    )
    files = sorted(path for path in site.rglob("*") if path.is_file())
    checksum = hashlib.sha256()
    for path in files:
        checksum.update(path.relative_to(site).as_posix().encode())
        checksum.update(hashlib.sha256(path.read_bytes()).digest())
    names = [path.relative_to(site).as_posix() for path in files]
    late = [name for name in names if name.endswith(LATE)]
    others = [name for name in names if name not in (*late, "service_worker.js")]
    version = checksum.hexdigest()[:16]
    text = json.dumps({"version": version, "files": others, "late": late}, indent=1)
    (site / "files.js").write_text(f"self.SITE = {text};\n", encoding="utf-8")


@command
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path, help="export, or a .tflite file of it")
    parser.add_argument("--output", type=Path, required=True, help="folder to make")
    parser.add_argument("--variant", default="float32", help="of the export")
    arguments = parser.parse_args()
    site = build(arguments.model, arguments.output, arguments.variant)
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"Site: {site} ({size / 1e6:.0f} MB)")


if __name__ == "__main__":
    main()
