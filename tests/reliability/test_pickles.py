"""Weights of PyTorch that would run code, fill the memory or never end.

A pickle is a program of small steps; here they are written one by one, as attackers do.
"""

import pickle
import resource
import stat
import struct
import time
import zipfile
from pathlib import Path

import pytest

from keras_mscam.errors import UserError
from keras_mscam.modeling.pytorch_file import read_state_dict

from .damage import limit_seconds
from .inputs import TENSORS, write_pytorch

MANY = 100_000
#: Bytes beside those that the process has.
LIMIT = 2**28


def text(word):
    return b"X" + struct.pack("<I", len(word.encode())) + word.encode()


def number(value):
    return b"J" + struct.pack("<i", value)


def tuple_of(*parts):
    return b"(" + b"".join(parts) + b"t"


def name(module, function):
    return f"c{module}\n{function}\n".encode()


def call(module, function, *arguments):
    return name(module, function) + tuple_of(*arguments) + b"R"


def keep(place):
    """Remember what was made last."""
    return b"r" + struct.pack("<I", place)


def take(place):
    return b"j" + struct.pack("<I", place)


def storage(kind=None, key=None):
    kind = name("torch", "FloatStorage") if kind is None else kind
    key = text("0") if key is None else key
    return tuple_of(text("storage"), kind, key, text("cpu"), number(6)) + b"Q"


def tensor(storage, size=None, stride=None, offset=None):
    size, stride = size or tuple_of(number(6)), stride or tuple_of(number(1))
    return call(
        "torch._utils", "_rebuild_tensor_v2", storage, offset or number(0), size,
        stride, b"\x89", b"}",
    )  # fmt: skip


def weights(value, protocol=2):
    """Give a pickle of a dictionary with one entry."""
    return bytes([128, protocol]) + b"}" + text("w") + value + b"s."


def inert(state=b""):
    """Give an object of a class of PyTorch, whose state comes from the file."""
    return name("torch.nn", "Module") + b")\x81" + (state and state + b"b")


def share(made, times, again):
    """Make something, and use it again and again."""
    return made + keep(1) + b"0]" + b"".join(again + b"a" for _ in range(times))


def stack_global(module, function):
    return b"".join(b"\x8c" + bytes([len(x)]) + x.encode() for x in (module, function))


HUGE = b"\x8a" + b"\xff" + b"\xff" * 254 + b"\x7f"  # 2^2039 - 1
LIST = b"](" + b"N" * MANY + b"e"
TUPLE = tuple_of(b"N" * MANY)
STATE = (
    b"}(" + b"".join(text(f"{n:05}") + b"N" for n in range(MANY // 10)) + b"u"
)  # fmt: skip

CALLS = {
    "a command": ("posix", "system"),
    "a process": ("subprocess", "Popen"),
    "an expression": ("builtins", "eval"),
    "a function by its name": ("builtins", "getattr"),
    "an attribute": ("operator", "attrgetter"),
    "a part of a function": ("functools", "partial"),
    "a function of bytes": ("types", "FunctionType"),
    "a module": ("importlib", "import_module"),
    "code of a file": ("runpy", "run_path"),
    "a terminal": ("pty", "spawn"),
    "another pickle": ("_pickle", "loads"),
    "a page": ("webbrowser", "open"),
    "a test of Python": ("bdb", "Bdb"),
    "a timer": ("timeit", "timeit"),
    "this package": ("keras_mscam.inference.hub", "fetch"),
}
#: Of libraries whose objects lie in checkpoints: nothing is called.
INERT = {
    "code in NumPy": ("numpy.testing._private.utils", "runstring"),
    "objects in an array": ("numpy._core.multiarray", "_reconstruct"),
    "a file of NumPy": ("numpy", "load"),
    "a hub": ("torch.hub", "load"),
    "a pickle of PyTorch": ("torch", "load"),
    "a command of PyTorch": ("torch.utils.collect_env", "run"),
    "a part of a module": ("torch.serialization", "os.system"),
    "an old class": ("collections", "namedtuple"),
    "text in another code": ("_codecs", "encode"),
}

STEPS = {
    "an instance, by text": (b"(S'touch'\nios\nsystem\n.", "is damaged"),
    "an instance": (b"\x80\x02(cos\nsystem\n" + text("x") + b"o.", r"call os\.system"),
    "a new object": (b"\x80\x02cos\nsystem\n" + text("x") + b"\x85\x81.", "call os"),
    "with words": (b"\x80\x04cos\nsystem\n)}\x92.", r"call os\.system"),
    "a name on the stack": (
        b"\x80\x04" + stack_global("os", "system") + b"\x93" + text("x") + b"\x85R.",
        r"call os\.system",
    ),
    "a number for a name": (b"\x80\x02\x82\x01.", "is damaged"),
    "a protocol to come": (b"\x80\x09N.", "is damaged"),
    "no end": (b"\x80\x02N", "is damaged"),
    "nothing on the stack": (b"\x80\x02.", "is damaged"),
    "a mark alone": (b"\x80\x02(.", "is damaged"),
    "a call of text": (weights(text("x") + b")R"), "is damaged"),
    "a call of a type of numbers": (
        weights(call("torch", "FloatStorage", LIST)), "is damaged",
    ),
    "a class of an object": (weights(text("x") + b")\x81"), "is damaged"),
    "the state of a type": (
        weights(name("torch", "FloatStorage") + b"}b"), "would change what is no",
    ),
    "the state of a function": (
        weights(name("torch._utils", "_rebuild_parameter") + b"}b"), "would change",
    ),
    "methods of a dictionary": (
        b"\x80\x02" + call("collections", "OrderedDict") + b"}" + text("items")
        + name("torch.nn", "Module") + b"sb.", "its entries are none",
    ),
    "the class of an object": (
        weights(inert(b"N}" + text("__class__") + name("torch", "x") + b"s\x86")),
        "holds no state_dict",
    ),
    "a method of an object": (
        b"\x80\x02" + inert(b"}" + text("append") + name("collections", "OrderedDict")
        + b"s") + b"Na.", "is damaged|holds no tensors",
    ),
}  # fmt: skip

PLACES = {
    "objects as numbers": storage(text("O")),
    "text as numbers": storage(text("U1")),
    "numbers by another name": storage(text("f4")),
    "parts as numbers": storage(b"]" + tuple_of(text("a"), text("f4")) + b"a"),
    "a class as numbers": storage(name("torch", "ComplexFloatStorage")),
    "a number as its name": storage(key=number(0)),
    "no name": storage(key=b"N"),
    "another member": storage(key=text("../data.pkl")),
    "a file": storage(key=text("/etc/passwd")),
    "text as a place": text("storage") + b"Q",
    "too short a place": tuple_of(text("storage"), b"N") + b"Q",
    "a place by text": b"Pstorage\n",
    "a module of itself": tuple_of(text("module"), LIST, b"NN") + b"Q",
}

TENSOR = {
    "text for a shape": tensor(storage(), text("abc")),
    "text in a shape": tensor(storage(), tuple_of(text("6"))),
    "nothing in a shape": tensor(storage(), tuple_of(b"N")),
    "a fraction in a shape": tensor(storage(), tuple_of(b"G?\xf0\0\0\0\0\0\0")),
    "a list for a shape": tensor(storage(), b"](" + number(6) + b"e"),
    "more axes than steps": tensor(storage(), tuple_of(number(2), number(3))),
    "a thousand axes": tensor(storage(), *[tuple_of(number(1) * 1000)] * 2),
    "numbers of 2,039 bits": tensor(storage(), *[tuple_of(HUGE * 60)] * 2),
    "a start of 2,039 bits": tensor(storage(), offset=HUGE),
    "a start of text": tensor(storage(), offset=text("0")),
    "no storage": tensor(b"N"),
    "a tensor as storage": tensor(tensor(storage())),
    "a negative size": tensor(storage(), tuple_of(number(-6))),
    "nothing of much": tensor(
        storage(), tuple_of(number(0), *[number(2**31 - 1)] * 9),
        tuple_of(number(1) * 10),
    ),
}  # fmt: skip

SIZES = {
    "bytes": b"\x8e" + struct.pack("<Q", 2**40),
    "most bytes": b"\x8e" + struct.pack("<Q", 2**64 - 1),
    "an array of bytes": b"\x96" + struct.pack("<Q", 2**40),
    "a text": b"\x8d" + struct.pack("<Q", 2**40),
    "a number": b"\x8b" + struct.pack("<i", 2**31 - 1),
    "a negative number": b"\x8b" + struct.pack("<i", -1),
    "an old text": b"T" + struct.pack("<i", -5),
    "a frame": b"\x95" + struct.pack("<Q", 2**40),
    "a place in memory": b"N" + keep(2**32 - 1) + b"0" + take(5),
    "a buffer outside": b"\x97\x98",
}

GROWING = {
    "tuples of tuples as a name": weights(
        b"}" + b")" + b"\x85" + b"2\x86" * 60 + b"Ns"
    ),
    "tuples of tuples": b"\x80\x02)" + b"2\x86" * 60 + b".",
    "copies of dictionaries": weights(
        share(STATE, 200, name("collections", "OrderedDict") + take(1) + b"\x85R")
    ),
    "copies of a state": weights(share(STATE, MANY // 10, inert(take(1)))),
    "copies of a shape": weights(
        share(LIST, 5000, tensor(storage(), take(1), take(1)))
    ),
    "copies of arguments": weights(
        share(TUPLE, MANY // 2, name("torch", "x") + take(1) + b"R")
    ),
    "copies of a list of arguments": weights(
        share(LIST, MANY // 2, name("torch", "x") + take(1) + b"R")
    ),
    "copies of what an object is made of": weights(
        share(TUPLE, MANY // 2, name("torch", "x") + take(1) + b"\x81")
    ),
    "copies of places": weights(share(TUPLE, MANY // 2, take(1) + b"Q")),
    "names of one value in a dictionary": weights(
        b"}(" + b"".join(
            b"\x8a\x08" + struct.pack("<q", n * (2**61 - 1)) + b"N"
            if abs(n * (2**61 - 1)) < 2**63
            else b"\x8a\x0a" + (n * (2**61 - 1)).to_bytes(10, "little") + b"N"
            for n in range(MANY // 4)
        ) + b"u"
    ),
    "places of one value": b"\x80\x02N" + b"".join(
        b"p%d\n" % (n * (2**61 - 1)) for n in range(MANY // 4)
    ) + b".",
    "a dictionary in itself": b"\x80\x02}" + keep(1) + text("model") + take(1) + b"s.",
    "a module in itself": b"\x80\x02" + inert() + keep(1) + b"}" + text("_modules")
    + b"}" + text("a") + take(1) + b"ssb.",
    "dictionaries in each other": (
        b"\x80\x02" + (b"}" + text("model")) * MANY + b"N" + b"s" * MANY + b"."
    ),
    "lists in each other": b"\x80\x02" + b"]" * MANY + b"a" * (MANY - 1) + b".",
    "one tensor in many modules": (
        b"\x80\x02" + inert(
            b"}" + text("_modules") + b"}(" + b"".join(
                text(str(n)) + (
                    take(1) if n else inert(
                        b"}" + text("_parameters") + b"}" + keep(2) + b"("
                        + text("0") + tensor(storage()) + keep(3)
                        + b"".join(text(str(k)) + take(3) for k in range(1, 5000))
                        + b"us"
                    ) + keep(1)
                ) for n in range(5000)
            ) + b"us"
        ) + b"."
    ),
}  # fmt: skip


@pytest.fixture
def refuse(tmp_path):
    """Give a function that reads a file with little memory and time, in vain."""
    path = tmp_path / "weights.pt"

    def read(said, **files):
        with zipfile.ZipFile(path, "w") as archive:
            for place, data in files.items():
                archive.writestr(f"archive/{place}".replace("__", "/"), data)
        return refuse_file(path, said)

    return read


def refuse_file(path, said):
    pages = Path("/proc/self/statm").read_text().split()[0]
    used = int(pages) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, before[1]))
    start = time.process_time()
    try:
        with limit_seconds(), pytest.raises(UserError, match=said) as caught:
            read_state_dict(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    sentence = str(caught.value)
    assert "MemoryError" not in sentence and len(sentence) < 1000
    assert time.process_time() - start < 10
    return sentence


def read_both(refuse, tmp_path, content, said):
    """Read a pickle in a zip, and as PyTorch wrote it before 1.6."""
    refuse(said, **{"data.pkl": content, "data__0": bytes(24)})
    path = tmp_path / "old.pth"
    path.write_bytes(write_old(content, 6) + bytes(24))
    refuse_file(path, said)


def write_old(content, count):
    """Give all but the numbers of a file with one storage."""
    parts = (0x1950A86A20F9469CFC6C, 1001, {})
    start = b"".join(pickle.dumps(part, 2) for part in parts) + content
    if b"FloatStorage" not in content:
        return start + pickle.dumps([], 2)
    return start + pickle.dumps(["0"], 2) + struct.pack("<q", count)


@pytest.mark.parametrize("kind", CALLS)
def test_a_call(refuse, tmp_path, kind):
    canary = text(f"touch {tmp_path}/touched")
    content = weights(call(*CALLS[kind], canary))
    read_both(refuse, tmp_path, content, "is refused: it would call " + CALLS[kind][0])
    refuse("is refused", **{"data.pkl": b"\x80\x02" + name(*CALLS[kind]) + b"."})
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", INERT)
def test_a_call_of_a_library(refuse, tmp_path, kind):
    canary = text(f"touch {tmp_path}/touched")
    content = weights(call(*INERT[kind], canary) + b"}b")
    read_both(refuse, tmp_path, content, "its entries are w")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("kind", STEPS)
def test_a_step(refuse, tmp_path, kind):
    content, said = STEPS[kind]
    refuse(said, **{"data.pkl": content})


@pytest.mark.parametrize("kind", PLACES)
def test_a_place_of_numbers(refuse, kind):
    content = weights(tensor(PLACES[kind]))
    refuse("is damaged", **{"data.pkl": content, "data__0": bytes(24)})


@pytest.mark.parametrize("kind", TENSOR)
def test_a_tensor(refuse, kind):
    content = weights(TENSOR[kind])
    refuse("is damaged", **{"data.pkl": content, "data__0": bytes(24)})


@pytest.mark.parametrize("kind", SIZES)
def test_a_size_that_the_file_does_not_have(refuse, tmp_path, kind):
    read_both(refuse, tmp_path, weights(SIZES[kind], 5), "is damaged")


@pytest.mark.parametrize("kind", GROWING)
def test_a_small_file_that_grows(refuse, kind):
    said = "is damaged|holds no (state_dict|tensors)"
    refuse(said, **{"data.pkl": GROWING[kind], "data__0": bytes(24)})


@pytest.mark.parametrize("count", [-1, 5, 2**60, 2**63 - 1])
def test_numbers_of_the_old_format(tmp_path, count):
    path = tmp_path / "weights.pth"
    path.write_bytes(write_old(weights(tensor(storage())), count) + bytes(24))
    refuse_file(path, "is damaged")


def test_names_that_are_long_or_no_text(refuse):
    long = "a" * MANY
    refuse(
        "its entries are aaa", **{"data.pkl": weights(b"N")[:3] + text(long) + b"Ns."}
    )
    content = b"\x80\x02" + name(long, "system") + b"."
    refuse("it would call aaa", **{"data.pkl": content})


class TestArchives:
    def write(self, path, data=bytes(24), **others):
        content = weights(tensor(storage()))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", data)
            for place, added in others.items():
                archive.writestr(place.replace("__", "/"), added)

    def test_a_good_one(self, tmp_path):
        self.write(tmp_path / "a.pt")
        assert read_state_dict(tmp_path / "a.pt")[0]["w"].tolist() == [0] * 6

    @pytest.mark.parametrize("place", ["other__data.pkl", "archive__data.pkl"])
    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_two_pickles(self, tmp_path, place):
        self.write(tmp_path / "a.pt", **{place: weights(b"N")})
        refuse_file(tmp_path / "a.pt", r"holds several data\.pkl")

    def test_a_link(self, tmp_path):
        path = tmp_path / "a.pt"
        info = zipfile.ZipInfo("archive/data/0")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", weights(tensor(storage())))
            archive.writestr(info, "/etc/passwd")
        refuse_file(path, "is damaged")

    @pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    def test_a_bomb(self, tmp_path, kind):
        path = tmp_path / "a.pt"
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("archive/data.pkl", weights(tensor(storage())))
            archive.writestr("archive/data/0", bytes(2**24))
        refuse_file(path, "is compressed")

    def test_members_that_lie_over_each_other(self, tmp_path):
        """All entries of the table at the end lead to the same bytes (Fifield 2019)."""
        path = tmp_path / "a.pt"
        self.write(path, bytes(2**16), **{f"archive__data__{n}": b"" for n in "123"})
        with zipfile.ZipFile(path, "a") as archive:
            first = archive.getinfo("archive/data/0")
            for n in "123":
                info = archive.getinfo(f"archive/data/{n}")
                info.header_offset, info.CRC = first.header_offset, first.CRC
                info.file_size = info.compress_size = first.file_size
            archive.writestr("archive/version", "3")  # so that the table is written
        refuse_file(path, "its parts are larger than itself")

    @pytest.mark.parametrize("at", [20, 24], ids=["compressed", "plain"])
    def test_a_size_that_is_wrong(self, tmp_path, at):
        path = tmp_path / "a.pt"
        self.write(path)
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, data.rindex(b"PK\1\2") + at, 2**32 - 2)
        path.write_bytes(data)
        refuse_file(path, "is damaged")

    def test_a_password(self, tmp_path):
        path = tmp_path / "a.pt"
        self.write(path)
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(data)
        refuse_file(path, "is damaged")

    def test_the_archive_behind_something_else(self, tmp_path):
        path = tmp_path / "a.pt"
        write_pytorch(path, TENSORS)
        path.write_bytes(pickle.dumps({}) + path.read_bytes())
        assert read_state_dict(path)[0].keys() == TENSORS.keys()
