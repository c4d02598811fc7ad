"""The files of export/cluster hang together, and are what their readers expect."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from keras_mscam.cli.train import parse_options

FOLDER = Path(__file__).parents[2] / "export" / "cluster"


def parse_command(words):
    """Parse what a script calls, as the command itself would."""
    assert words[0] == "keras_mscam-train"
    return parse_options(words[1:])


@pytest.fixture
def submit(tmp_path):
    """Run the Slurm script with stand-ins for Slurm's commands: give what they saw."""

    def run(*arguments, status=0, saved="/dev/null"):
        stubs = {
            "scontrol": f'echo "scontrol $*" >> {tmp_path}/calls\n'
            '[ "$1" = show ] && printf "node07\\nnode08\\n"',
            "srun": f'printf "%s\\n" "$@" > {tmp_path}/words; '
            f"touch {saved}; exit {status}",
        }
        for name, body in stubs.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
            (tmp_path / name).chmod(0o755)
        done = subprocess.run(
            ["bash", FOLDER / "train.slurm", *map(str, arguments)],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "SLURM_JOB_ID": "8195", "SLURM_JOB_NODELIST": "node[07-08]",
            },
        )  # fmt: skip
        assert done.returncode == status
        words = (tmp_path / "words").read_text().splitlines()
        return words, (tmp_path / "calls").read_text()

    return run


def test_slurm_starts_a_run(submit, tmp_path):
    run = tmp_path / "run"
    words, calls = submit("records", run, "--preset", "paper", "--batch-size", 64)
    options = parse_command(words)
    # The port: 61440 + 8195 % 4096.
    assert options.machines.hosts == ("node07:61443", "node08")
    assert options.machines.devices == "all"
    assert options.data.path == Path("records")
    assert (options.output, options.training.batch_size) == (run, 64)
    assert "requeue" not in calls


@pytest.mark.parametrize("status", [75, 134, 137, 143, 2, 1])
def test_slurm_goes_on_where_that_helps(status, submit, tmp_path):
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "epoch-001.npz").touch()
    (tmp_path / "run" / "config.json").write_text("{}")
    _, calls = submit("records", tmp_path / "run", status=status)
    assert "requeue" not in calls  # there is no new checkpoint
    saved = checkpoints / "epoch-002.npz"
    words, calls = submit("records", tmp_path / "run", status=status, saved=saved)
    options = parse_command(words)
    assert options.resume and options.output == tmp_path / "run"
    assert ("requeue 8195" in calls) == (status > 2)


def test_kubernetes_names_every_pod():
    documents = yaml.safe_load_all((FOLDER / "train.yaml").read_text())
    service, claim, job = documents
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"] == 2
    # A pod is JOB-INDEX.SUBDOMAIN, where a headless service of that name selects it.
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    container = pod["containers"][0]
    assert {"name": "KERAS_BACKEND", "value": "jax"} in container["env"]
    script = container["args"][0]
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    start = re.search(r"options=\((--data.*)\)", script)[1]
    call = re.search(r"exec (.*)", script, re.DOTALL)[1]
    call = call.replace('"${options[@]}"', start).replace("\\\n", " ")
    options = parse_command(shlex.split(call))
    first, *others = options.machines.hosts
    assert first == f"{name}-0.{pod['subdomain']}:{service['spec']['ports'][0]['port']}"
    assert others == [f"{name}-1.{pod['subdomain']}"]
    # What may be lost: a mistake (2) is not tried again.
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    assert pod["restartPolicy"] == "Never"  # else there may be no such policy
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert volumes == {mount["name"] for mount in container["volumeMounts"]}
    assert claim["metadata"]["name"] == pod["volumes"][0]["persistentVolumeClaim"][
        "claimName"
    ]  # fmt: skip
