"""Versions come, go, fail and are tried again."""

import asyncio
import errno
import json
import shutil
import threading
import time
import weakref

import grpc
import numpy as np
import pytest

from keras_mscam.errors import UserError
from keras_mscam.serving.monitoring import Metrics
from keras_mscam.serving.servable import Servable
from keras_mscam.serving.served_models import (
    ServedModels,
    choose_versions,
    find_models,
    find_versions,
)
from keras_mscam.serving.serving_error import ServingError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "toy").mkdir()
    return tmp_path / "toy"


@pytest.fixture
def open_repository(folder):
    return lambda **options: ServedModels({"toy": folder}, Metrics(), **options)


def refresh(repository):
    asyncio.run(repository.refresh())


def get_states(repository):
    return [(v.number, v.state) for v in repository.list_versions("toy")]


def compute(version):
    """Return the factor of a version."""
    x = np.ones((1, 1), np.float32)
    return version.servable.find_signature("")({"x": x})["y"][0, 0]


def spoil(path):
    (path / "saved_model.pb").write_bytes(b"no model")


def test_the_newest_is_served(folder, open_repository, make_version):
    make_version(folder, 9, 2)
    make_version(folder, 10, 3)
    repository = open_repository()
    refresh(repository)
    assert repository.list_available() == {"toy": [10]}
    assert compute(repository.find("toy")) == 3


def test_a_new_version_takes_over(folder, open_repository, make_version):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    assert compute(repository.find("toy")) == 2
    make_version(folder, 2, 3)
    refresh(repository)
    assert compute(repository.find("toy")) == 3
    assert get_states(repository) == [(2, "AVAILABLE"), (1, "END")]
    # The former comes back when the new one is taken away.
    (folder / "2").rename(folder / "away")
    refresh(repository)
    assert get_states(repository) == [(2, "END"), (1, "AVAILABLE")]


def test_the_former_is_served_until_the_new_one_is(
    folder, open_repository, make_version, monkeypatch
):
    """While version 2 loads, version 1 answers."""
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    make_version(folder, 2, 3)
    seen = []
    run = repository._run

    async def watch(function, *arguments):
        seen.append((repository.find("toy").number, get_states(repository)))
        return await run(function, *arguments)

    monkeypatch.setattr(repository, "_run", watch)
    refresh(repository)
    assert (1, [(2, "LOADING"), (1, "AVAILABLE")]) in seen
    assert {number for number, _ in seen} == {1}
    assert repository.find("toy").number == 2


def test_requests_in_flight_keep_their_version(folder, open_repository, make_version):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    version = repository.find("toy")
    with version.hold() as servable, version.hold():
        make_version(folder, 2, 3)
        refresh(repository)
        assert get_states(repository) == [(2, "AVAILABLE"), (1, "UNLOADING")]
        assert repository.find("toy").number == 2
        with pytest.raises(ServingError):
            repository.find("toy", 1)
        x = np.ones((1, 1), np.float32)
        assert servable.find_signature("")({"x": x})["y"] == 2
    assert get_states(repository) == [(2, "AVAILABLE"), (1, "END")]


def test_an_unloaded_version_leaves_no_memory_behind(
    folder, open_repository, make_version
):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    gone = weakref.ref(repository.find("toy").servable)
    graph = weakref.ref(gone()._session.graph)
    make_version(folder, 2, 3)
    refresh(repository)
    deadline = time.monotonic() + 20
    while gone() or graph():  # freed by a thread of its own
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_freeing_a_version_holds_nothing_up(
    folder, open_repository, make_version, monkeypatch
):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    freed = threading.Event()
    close = Servable.close

    def close_late(servable):
        assert freed.wait(20)
        close(servable)

    monkeypatch.setattr(Servable, "close", close_late)
    make_version(folder, 2, 3)
    refresh(repository)
    assert get_states(repository) == [(2, "AVAILABLE"), (1, "END")]
    freed.set()


def test_one_that_cannot_be_loaded(folder, open_repository, make_version):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    spoil(make_version(folder, 2, 3))
    refresh(repository)
    assert get_states(repository) == [(2, "END"), (1, "AVAILABLE")]
    (state,) = repository.list_versions("toy", 2)
    assert state.error_code != "OK"
    assert state.error and "\n" not in state.error
    assert repository.find("toy").number == 1


def test_a_warm_up_that_fails_keeps_a_version_out(
    folder, open_repository, make_version, write_warmup
):
    make_version(folder, 1, 2)
    write_warmup(make_version(folder, 2, 3), [("image", {"image_bytes": [b"bad"]})])
    repository = open_repository()
    refresh(repository)
    (version,) = repository.list_versions("toy", 2)
    assert version.error_code == "INVALID_ARGUMENT" and "bad" in version.error


def test_a_start_with_a_broken_newest_version(folder, open_repository, make_version):
    """What can be loaded is served, until the newest is mended."""
    make_version(folder, 1, 2)
    make_version(folder, 2, 3)
    path = make_version(folder, 3, 4)
    whole = (path / "saved_model.pb").read_bytes()
    spoil(path)
    repository = open_repository()
    refresh(repository)
    assert get_states(repository) == [(3, "END"), (2, "AVAILABLE")]
    refresh(repository)
    assert get_states(repository) == [(3, "END"), (2, "AVAILABLE")]
    (path / "saved_model.pb").write_bytes(whole)
    refresh(repository)
    assert get_states(repository) == [(3, "AVAILABLE"), (2, "END")]


def test_nothing_stands_in_for_a_specific_version(
    folder, open_repository, make_version
):
    make_version(folder, 1, 2)
    spoil(make_version(folder, 2, 3))
    for number in ("2", "7"):
        repository = open_repository(policy=("specific", number))
        refresh(repository)
        assert repository.list_available() == {"toy": []}


def test_a_broken_version_is_tried_again_only_when_its_files_change(
    folder, open_repository, make_version
):
    tries = []
    path = make_version(folder, 1, 2)
    variables = path / "variables" / "variables.data-00000-of-00001"
    whole = variables.read_bytes()
    variables.unlink()  # being copied, in an unlucky order
    repository = open_repository()
    repository.metrics.count_load = lambda _, status, __: tries.append(status)
    refresh(repository)
    refresh(repository)
    assert tries == ["fail"]
    variables.write_bytes(whole)
    refresh(repository)
    refresh(repository)
    assert tries == ["fail", "success"]
    assert compute(repository.find("toy")) == 2


def test_what_is_no_version(folder, open_repository, make_version):
    make_version(folder, 1, 2)
    make_version(folder, ".7", 3)  # an export that is being written
    make_version(folder, "8.tmp", 3)
    make_version(folder, "-9", 3)
    make_version(folder, "9" * 30, 3)
    (folder / "10").mkdir()
    (folder / "10" / "variables").mkdir()
    (folder / "11").write_text("a file")
    repository = open_repository()
    refresh(repository)
    assert get_states(repository) == [(1, "AVAILABLE")]


def test_names_with_zeros_in_front(folder, make_version):
    """As TF Serving's own test models are named."""
    path = make_version(folder, "00000123", 2)
    assert find_versions(folder) == {123: path}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("latest", [4]),
        ("latest 2", [4, 3]),
        ("latest 9", [4, 3, 1]),
        ("all", [4, 3, 1]),
        ("specific 1 2 3", [3, 1]),
    ],
)
def test_policies(policy, expected):
    assert choose_versions(policy.split(), [3, 1, 4]) == expected


@pytest.mark.parametrize("policy", ["", "newest", "latest 0", "specific", "all 1"])
def test_wrong_policies(policy, open_repository):
    with pytest.raises(UserError, match="latest"):
        open_repository(policy=policy.split())


def test_several_versions(folder, open_repository, make_version):
    for number in (1, 2, 3):
        make_version(folder, number, number)
    repository = open_repository(policy=("latest", "2"))
    refresh(repository)
    assert repository.list_available() == {"toy": [2, 3]}
    assert compute(repository.find("toy", 2)) == 2
    make_version(folder, 4, 4)
    refresh(repository)
    assert get_states(repository) == [
        (4, "AVAILABLE"), (3, "AVAILABLE"), (2, "END"),
    ]  # fmt: skip


def test_labels(folder, open_repository, make_version):
    for number in (1, 2):
        make_version(folder, number, number)
    repository = open_repository(
        policy=("all",), labels={"stable": 1, "canary": 2, "old": 9}
    )
    refresh(repository)
    assert repository.find("toy", label="stable").number == 1
    assert repository.find("toy", label="canary").number == 2
    (version,) = repository.list_versions("toy", label="stable")
    assert version.number == 1
    for arguments, code, words in (
        (
            ("toy", None, "other"),
            "INVALID_ARGUMENT",
            "with the label 'other'",
        ),
        (("toy", None, "old"), "NOT_FOUND", "'toy' has no version 9"),
        (("toy", 7), "NOT_FOUND", "'toy' has no version 7"),
        (("other",), "NOT_FOUND", "'other' is not served"),
    ):
        with pytest.raises(ServingError, match=words) as error:
            repository.find(*arguments)
        assert error.value.code == grpc.StatusCode[code]


def test_a_labelled_version_stays(folder, open_repository, make_version):
    make_version(folder, 1, 1)
    repository = open_repository(labels={"stable": 1})
    refresh(repository)
    for number in (2, 3):
        make_version(folder, number, number)
        refresh(repository)
    assert repository.list_available() == {"toy": [1, 3]}
    assert compute(repository.find("toy", label="stable")) == 1
    assert compute(repository.find("toy")) == 3


def test_a_version_exported_anew_under_its_number(
    folder, open_repository, make_version
):
    path = make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    former = repository.find("toy")
    refresh(repository)
    assert repository.find("toy") is former  # nothing has changed
    with former.hold():
        shutil.rmtree(path)
        make_version(folder, 1, 3)
        refresh(repository)
        assert compute(former) == 2
        assert compute(repository.find("toy")) == 3
    assert former.state == "END"


def test_a_broken_export_under_its_number_changes_nothing(
    folder, open_repository, make_version
):
    path = make_version(folder, 1, 2)
    tries = []
    repository = open_repository()
    repository.metrics.count_load = lambda _, status, __: tries.append(status)
    refresh(repository)
    spoil(path)
    refresh(repository)
    refresh(repository)
    assert tries == ["success", "fail"]
    assert compute(repository.find("toy")) == 2


def test_an_emptied_folder_takes_nothing_away(folder, open_repository, make_version):
    """Such as a network disk that is gone for a moment."""
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    folder.rename(folder.with_name("away"))
    refresh(repository)
    assert repository.list_available() == {"toy": [1]}
    folder.mkdir()
    refresh(repository)
    assert repository.list_available() == {"toy": [1]}


def test_watching(folder, open_repository, make_version):
    make_version(folder, 1, 2)

    async def main():
        repository = open_repository()
        await repository.refresh()
        task = asyncio.create_task(repository.watch(0.02))
        await asyncio.to_thread(make_version, folder, 2, 3)
        async with asyncio.timeout(20):
            while repository.list_available() != {"toy": [2]}:
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(main())


def test_a_folder_that_can_not_be_read_is_logged_once(
    folder, open_repository, make_version, caplog
):
    make_version(folder, 1, 2)
    repository = open_repository()
    refresh(repository)
    folder.rename(folder.with_name("away"))
    for _ in range(5):
        refresh(repository)
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert "toy" in record.message and record.exc_info is None
    folder.with_name("away").rename(folder)
    refresh(repository)
    folder.rename(folder.with_name("away"))
    refresh(repository)
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2


def test_models_of_a_folder(tmp_path, make_version):
    path = make_version(tmp_path / "toy", 1, 2)
    (tmp_path / "notes").mkdir()
    (tmp_path / "list.json").write_text(json.dumps([]))
    assert find_models(tmp_path) == {"toy": tmp_path / "toy"}
    assert find_models(tmp_path / "toy") == {"toy": tmp_path / "toy"}
    make_version(tmp_path / "other", 3, 2)
    assert find_models(tmp_path).keys() == {"toy", "other"}
    with pytest.raises(UserError, match="folder of versions above"):
        find_models(path)
    with pytest.raises(UserError, match="holds no model"):
        find_models(tmp_path / "notes")
    (tmp_path / "notes" / "config.json").touch()
    with pytest.raises(UserError, match="it is a run; keras_mscam-export"):
        find_models(tmp_path / "notes")
    with pytest.raises(UserError, match="Cannot read"):
        find_models(tmp_path / "missing")


def test_a_folder_beside_the_models_that_cannot_be_read(
    tmp_path, make_version, monkeypatch
):
    (tmp_path / "lost+found").mkdir()

    def find(folder):
        if folder.name == "lost+found":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return find_versions(folder)

    monkeypatch.setattr("keras_mscam.serving.served_models.find_versions", find)
    with pytest.raises(UserError, match=r"lost\+found: Permission denied"):
        find_models(tmp_path)
    make_version(tmp_path / "toy", 1, 2)
    assert find_models(tmp_path) == {"toy": tmp_path / "toy"}
