import dataclasses
import json
import sys
from pathlib import Path

import pytest

from keras_mscam.cli.train import main, parse_options
from keras_mscam.configs import PRESETS
from keras_mscam.configs.schema import (
    AugmentationConfig,
    Config,
    dump_config,
    merge_config,
    read_config,
)
from keras_mscam.errors import UserError


def test_the_paper_preset_is_the_paper():
    config = PRESETS["paper"]
    assert config.model.backbone == "densenet121"
    assert config.model.blocks == (2, 3, 4)
    assert config.model.pooling == "gap"
    assert config.model.weights is None
    assert config.data.image_size == (256, 256)
    assert config.training.loss == "class_balanced"
    assert config.training.learning_rate == 1e-3
    assert config.training.batch_size == 32
    assert config.training.relevance_learning_rate == 1
    assert config.training.auxiliary_loss == 0


def test_systems_of_table_1_differ_only_in_configuration():
    assert PRESETS["paper-dn-cam"].model.blocks == (4,)
    assert PRESETS["paper-rn-cam"].model.backbone == "resnet50"
    assert PRESETS["phantom-dn-cam"].model.blocks == (4,)


@pytest.mark.parametrize("name", PRESETS)
def test_round_trip(tmp_path, name):
    path = tmp_path / "config.json"
    path.write_text(dump_config(PRESETS[name]))
    assert read_config(path, Config()) == PRESETS[name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"epochz": 3}}, "training.epochz"),
        ({"train": {}}, "unknown section 'train'"),
        ({"training": 3}, "unknown section 'training'"),
        ({"training": {"batch_size": 0}}, "training.batch_size: .*greater than 0"),
        ({"training": {"epochs": "many"}}, "training.epochs: .*valid integer"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate"),
        ({"training": {"precision": "float8"}}, "training.precision"),
        ({"model": {"blocks": [2, 5]}}, "model.blocks.1"),
        ({"data": {"image_size": [256]}}, "data.image_size"),
        ({"data": {"image_size": [256, 16]}}, "data.image_size.1"),
        ({"data": {"cache": "tape"}}, "data.cache: .*'disk'"),
        ({"augmentation": {"rotation": 181}}, "augmentation.rotation"),
        ({"augmentation": {"shift": -0.1}}, "augmentation.shift"),
        ({"augmentation": {"blur": 1}}, "augmentation.blur"),
    ],
)
def test_refuses(changes, message):
    with pytest.raises(UserError, match=message):
        merge_config(Config(), changes, "here")


def test_a_file_from_before_a_section_was_there(tmp_path):
    content = json.loads(dump_config(PRESETS["paper-dn-cam"]))
    del content["augmentation"], content["data"]["cache"]
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    config = read_config(path, Config())
    assert config == PRESETS["paper-dn-cam"]
    assert config.augmentation == AugmentationConfig()  # off


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_refuses_a_file_that_is_no_object(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(path, Config())


class TestOptions:
    def test_none_is_the_built_in_set(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        options = parse_options([])
        assert options.config == PRESETS["phantom-a-cnn-plus"]
        assert str(options.output) == "runs/phantom-a-cnn-plus-1"
        (tmp_path / "runs" / "phantom-a-cnn-plus-1").mkdir(parents=True)
        assert str(parse_options([]).output) == "runs/phantom-a-cnn-plus-2"

    @pytest.mark.parametrize("name", PRESETS)
    def test_a_preset_comes_whole(self, name):
        found = parse_options(["--preset", name, "--data", "xrays"]).config
        preset = PRESETS[name]
        data = dataclasses.replace(preset.data, path=Path("xrays"))
        assert found == dataclasses.replace(preset, data=data)

    def test_preset_then_file_then_options(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"training": {"epochs": 5, "seed": 9}}))
        options = parse_options(
            ["--preset", "paper", "--config", str(path), "--epochs", "7",
             "--blocks", "3", "4", "--image-size", "128", "160"]
        )  # fmt: skip
        assert options.config.model.backbone == "densenet121"  # from the preset
        assert options.config.training.seed == 9  # from the file
        assert options.config.training.epochs == 7  # from the option over the file
        assert options.config.model.blocks == (3, 4)
        assert options.config.data.image_size == (128, 160)

    def test_augmentation_and_cache(self, tmp_path):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"augmentation": {"zoom": 0.2, "flip": True}}))
        options = parse_options(
            ["--config", str(path), "--rotation", "7", "--cache", "disk",
             "--cache-folder", "scratch", "--balanced-sampling"]
        )  # fmt: skip
        expected = AugmentationConfig(rotation=7, zoom=0.2, flip=True)
        assert options.config.augmentation == expected
        assert options.config.data.cache == "disk"
        assert str(options.config.data.cache_folder) == "scratch"
        assert options.config.training.balanced_sampling

    def test_help_names_every_field_of_augmentation(self, capsys):
        with pytest.raises(SystemExit):
            parse_options(["--help"])
        shown = capsys.readouterr().out
        for field in dataclasses.fields(AugmentationConfig):
            assert f"--{field.name}" in shown

    def test_unknown_options_are_refused(self, capsys):
        with pytest.raises(SystemExit) as error:
            parse_options(["--epochz", "3"])
        assert error.value.code == 2
        assert "--epochz" in capsys.readouterr().err

    def test_values_out_of_range_are_one_sentence(self, capsys, monkeypatch):
        monkeypatch.setattr(sys, "argv", ["keras_mscam-train", "--batch-size", "0"])
        with pytest.raises(SystemExit) as error:
            main()
        assert error.value.code == 2
        sentence = "error: batch_size: input should be greater than 0 (got 0)\n"
        assert capsys.readouterr().err == sentence

    @pytest.mark.parametrize(
        ("preset", "needed"), [("real", "--data"), ("planted", "--backgrounds")]
    )
    def test_presets_for_x_rays_are_not_trained_on_drawn_ones(self, preset, needed):
        with pytest.raises(UserError, match=f"--preset {preset} needs {needed}, "):
            parse_options(["--preset", preset])
        for option in {needed, "--data"}:
            parse_options(["--preset", preset, option, "folder"])

    def test_resume_needs_its_run(self, tmp_path):
        with pytest.raises(UserError, match="--resume needs"):
            parse_options(["--resume"])
        with pytest.raises(UserError, match="not the folder of a run"):
            parse_options(["--resume", "--output", str(tmp_path)])
        for preset in (["--preset", "paper"], ["--preset=paper"]):
            with pytest.raises(UserError, match="--preset begins a run"):
                parse_options(["--resume", "--output", str(tmp_path), *preset])
