"""The rules of CONTRIBUTING.md: where modules lie, and what they may import."""

import ast
import graphlib
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "keras_mscam"
# A folder imports from folders of rows above its own, and from nothing below.
ORDER = (
    {"errors"},
    {"files", "pathologies"},
    {"parallel"},
    {"configs"},
    {"images", "modeling", "localization"},
    {"data"},
    {"phantom"},
    {"visualization"},
    {"inference"},
    {"evaluation"},
    {"training", "exporting"},
    {"dicom_results", "serving"},
    {"batch_predict"},
    {"cli"},
    {"__main__"},
)
LEVELS = {name: level for level, names in enumerate(ORDER) for name in names}


def name_module(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_for_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def find_imports(path):
    """Return the package's modules that one imports, with the lines."""
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not is_for_type_checking(node)]
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} is a relative import"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in full]
        else:
            continue
        found.update({name: node.lineno for name in names if name in MODULES})
    return found


IMPORTS = {name: find_imports(path) for name, path in MODULES.items()}


def get_folder(module):
    return module.split(".")[1] if "." in module else None


def test_imports_go_down():
    for module, imported in IMPORTS.items():
        for other, line in imported.items():
            folders = get_folder(module), get_folder(other)
            if None in folders or folders[0] == folders[1]:
                continue
            level, level_of_other = (LEVELS[folder] for folder in folders)
            assert level_of_other < level, (
                f"{MODULES[module]}:{line} imports {other}, which isn't above it"
            )


def test_no_circle():
    try:
        graphlib.TopologicalSorter(IMPORTS).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_every_module_has_a_name_of_its_own():
    names = Counter(path.stem for path in MODULES.values() if path.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []


def test_the_package_is_seen_at_a_glance():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__", "__init__.py"}
    assert len(entries) <= 20
    assert {name.removesuffix(".py") for name in entries} == {*LEVELS}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_read_in_one_sitting(module):
    assert len(MODULES[module].read_text().splitlines()) <= 400
    assert ast.get_docstring(ast.parse(MODULES[module].read_text()))


def is_text_without_encoding(call):
    """Whether a call opens, reads or writes text in the encoding of the locale."""
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    arguments = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in arguments:
        return False
    if name in ("read_text", "write_text"):
        return len(call.args) < 1 + (name == "write_text")
    if name == "open" and ast.unparse(call.func) not in ("os.open", "tarfile.open"):
        modes = [*call.args, *arguments.values()]
        return not any("b" in str(getattr(mode, "value", "")) for mode in modes)
    return "text" in arguments  # of subprocess.run


def test_text_is_utf8_in_every_locale():
    found = [
        f"{path}:{node.lineno}"
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and is_text_without_encoding(node)
    ]
    assert not found, f"an encoding must be given: {', '.join(found)}"


def test_what_users_import_stands_at_the_front():
    import keras_mscam

    for name in keras_mscam.__all__:
        assert getattr(keras_mscam, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Predicter'"):
        _ = keras_mscam.Predicter
