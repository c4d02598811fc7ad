"""A Ray cluster of two nodes on this machine, of which one is lost."""

import re
import signal
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest

from keras_mscam.batch_predict.outputs import Place
from keras_mscam.batch_predict.predict_files import predict
from keras_mscam.batch_predict.settings import Options
from keras_mscam.batch_predict.stream import _stream_elsewhere
from keras_mscam.data.preparation import prepare
from keras_mscam.errors import UserError
from keras_mscam.parallel import cluster
from keras_mscam.parallel.cluster import Cluster, find_workers
from keras_mscam.parallel.in_order import map_in_order

from ..conftest import write_run


@pytest.fixture(scope="module")
def nodes():
    """A cluster with one processor on its head; other nodes are for the tests to add.

    The head stays when the tests are through with the others.
    """
    pytest.importorskip("ray", reason="needs Ray: pip install ray")
    import ray
    from ray.cluster_utils import Cluster as Nodes

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        less = {"num_cpus": 1, "object_store_memory": 2**27}
        made = Nodes(True, head_node_args={**less, "include_dashboard": False})
        made.less = less
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def two_nodes(nodes):
    node = nodes.add_node(**nodes.less)
    yield nodes
    if node in nodes.worker_nodes:
        nodes.remove_node(node)


@pytest.fixture
def lose_one(two_nodes, monkeypatch):
    """Let the second node be killed when the second result is asked for."""
    asked, get = [], Cluster._get

    def kill_and_get(self, reference):
        asked.append(reference)
        if len(asked) == 2:
            (node,) = two_nodes.worker_nodes
            two_nodes.remove_node(node, allow_graceful=False)
        return get(self, reference)

    monkeypatch.setattr(Cluster, "_get", kill_and_get)
    yield
    assert not two_nodes.worker_nodes


def write_xrays(folder, count):
    """Write PNG files of noise, every tenth of them cut off, and their labels."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = [
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender"
    ]
    for number in range(count):
        path = folder / "images" / f"{number:04d}.png"
        cv2.imwrite(str(path), rng.integers(0, 256, (200, 150), np.uint8))
        if number % 10 == 3:
            path.write_bytes(path.read_bytes()[:500])
        label = "Mass" if number % 2 else "No Finding"
        rows.append(f"{path.name},{label},0,{number},58,F")
    (folder / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n")
    return folder


def read_all(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.usefixtures("lose_one")
def test_a_node_is_lost_while_preparing(tmp_path):
    source = write_xrays(tmp_path / "source", 400)
    prepare(source, tmp_path / "here", progress=False)
    prepare(source, tmp_path / "there", progress=False, engine="ray")
    assert read_all(tmp_path / "there") == read_all(tmp_path / "here")


@pytest.mark.slow
@pytest.mark.usefixtures("lose_one")
def test_a_node_is_lost_while_predicting(tmp_path, monkeypatch):
    """Relative paths mean the same on the nodes; a broken file leaves no gap."""
    monkeypatch.chdir(tmp_path)
    write_xrays(tmp_path / "source", 110)
    (tmp_path / "source" / "again").mkdir()
    for number in range(2, 5):  # one that is cut off, of the same name
        name = f"{number:04d}.png"
        data = (tmp_path / "source" / "images" / name).read_bytes()
        (tmp_path / "source" / "again" / name).write_bytes(data)
    run = write_run(tmp_path / "run").path.relative_to(tmp_path)
    common = {
        "options": Options(html=True, maps=True), "batch_size": 4, "coco": True,
        "progress": False,
    }  # fmt: skip
    here = predict(run, ["source"], "here", **common)
    there = predict(run, ["source"], "there", **common, engine="ray")
    assert (there.read, there.refused) == (here.read, here.refused) and here.read == 101
    assert read_all(tmp_path / "there") == read_all(tmp_path / "here")


DIE = ("__import__('os')._exit(1)",)


@pytest.mark.slow
def test_few_jobs_are_handed_over_at_a_time(two_nodes):
    read = []
    jobs = ((read.append(n) or n, 2) for n in range(10**6))
    results = map_in_order(pow, jobs, Cluster(6))
    assert [next(results) for _ in range(20)] == [n**2 for n in range(20)]
    results.close()
    # Six chunks of 16, and one more when the first is done.
    assert len(read) == 7 * 16
    node = "__import__('ray').get_runtime_context().get_node_id()"
    wait = f"__import__('time').sleep(0.05) or {node}"
    assert len(set(map_in_order(eval, [(wait,)] * 40, Cluster(), chunk=1))) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_a_job_that_ends_its_process_is_one_result(monkeypatch):
    monkeypatch.setattr(cluster, "_RETRIES", 0)  # each costs seconds
    jobs = [(str(number),) for number in range(40)]
    jobs[20] = DIE
    results = list(map_in_order(eval, jobs, Cluster(), died="died"))
    assert results == ["died" if job == DIE else int(*job) for job in jobs]
    with pytest.raises(UserError, match="died again and again"):
        list(map_in_order(eval, [DIE], Cluster()))
    with pytest.raises(UserError, match="died again and again"):  # nothing gets through
        list(map_in_order(eval, [DIE] * 2, Cluster(), died="died"))


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_mistakes_on_a_node(monkeypatch):
    with pytest.raises(ValueError, match=r"^invalid literal"):
        list(map_in_order(int, [("x",)], Cluster()))
    here = types.ModuleType("only_here")
    monkeypatch.setitem(sys.modules, "only_here", here)
    exec("def run(*_): ...", vars(here))
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "_run", here.run)
        with pytest.raises(UserError, match="lacks keras_mscam"):
            list(map_in_order(pow, [(2, 2)], Cluster()))
    monkeypatch.setattr(cluster, "find_versions", lambda packages: {"numpy": "0.1"})
    with pytest.raises(UserError, match=r"On the node .*: numpy is .* runs 0\.1"):
        list(map_in_order(pow, [(2, 2)], Cluster()))


@pytest.mark.slow
@pytest.mark.usefixtures("nodes")
def test_broken_off_and_gone_on_with(tmp_path):
    source = write_xrays(tmp_path / "source", 1500)
    command = [sys.executable, "-m", "keras_mscam.cli.prepare", str(source)]
    command += ["--engine", "ray", "--output", str(tmp_path / "there")]
    for least, number, status in ((100, "SIGTERM", -15), (1100, "SIGINT", 130)):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = ""
        while not any(int(n) > least for n in re.findall(r"(\d+)/1500", said[-99:])):
            said += process.stderr.read(1)
            assert process.poll() is None, said
        process.send_signal(getattr(signal, number))
        said = process.communicate(timeout=60)[1]
        assert process.returncode == status and "Traceback" not in said
        assert not (tmp_path / "there").exists()
    assert (tmp_path / ".there.unfinished" / "part-00000.json").exists()
    prepare(source, tmp_path / "there", progress=False, engine="ray")
    prepare(source, tmp_path / "here", progress=False)
    assert read_all(tmp_path / "there") == read_all(tmp_path / "here")


def test_results_that_a_node_would_write_to_a_disk_of_its_own(tmp_path):
    place = Place(tmp_path / "out", "toy", Options(), "toy")
    with pytest.raises(UserError, match=r"out; put .* on a disk that all nodes share"):
        _stream_elsewhere(["1.png"], ["1"], "run", "keras", None, place, 4)


def test_no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "keras_mscam\[ray\]"'):
        find_workers("ray", None)
    with pytest.raises(UserError, match="no engine 'dask'"):
        find_workers("dask", None)
    assert find_workers("local", 3) == 3


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9", "ray://127.0.0.1:9", "local", "head", "head:99999999"]
)
def test_no_cluster(monkeypatch, address):
    pytest.importorskip("ray", reason="needs Ray: pip install ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=f"No Ray cluster answers at .*{address};"):
        find_workers("ray", None)


@pytest.mark.parametrize("address", ["", "auto"])
def test_a_cluster_whose_head_is_gone(monkeypatch, address):
    """Ray remembers where it was, and would try for minutes."""
    services = pytest.importorskip("ray._private.services", reason="needs Ray")
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(
        services, "canonicalize_bootstrap_address_or_die", lambda _: "127.0.0.1:9"
    )
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UserError, match=r"No Ray cluster answers at 127\.0\.0\.1:9;"):
        find_workers("ray", None)


def test_no_cluster_is_known(monkeypatch):
    services = pytest.importorskip("ray._private.services", reason="needs Ray")

    def fail(_):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(services, "canonicalize_bootstrap_address_or_die", fail)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="Ray says: Could not find any"):
        find_workers("ray", None)
