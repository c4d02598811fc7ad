from keras_mscam.batch_predict.discovery import Names


def test_names_differ():
    names = Names(["taken", "chest-3"])
    paths = ["a/chest.png", "b/CHEST.dcm", "c/chest.png", "taken.png", "chest-2.png"]
    # chest-3 was taken before; the last file's own name has gone to the second.
    assert [names.find(path) for path in paths] == [
        "chest", "CHEST-2", "chest-4", "taken-2", "chest-2-2",
    ]  # fmt: skip


def test_safe_as_file_names():
    names = Names()
    assert names.find("a/../x y:z*.png") == "x_y_z"
    assert names.find("a/....") == "image"
    assert names.find("über/größe.png") == "größe"
    assert len(names.find("x" * 300 + ".png")) == 100
    # File systems count bytes: at most 255, with all that is added to the name.
    name = Names().find("\N{CJK UNIFIED IDEOGRAPH-80BA}" * 83 + ".png")
    assert name == "\N{CJK UNIFIED IDEOGRAPH-80BA}" * 33
    # A dot at the beginning would hide it; bytes that are no text have no letters.
    assert names.find(".\udcff.png") == "image-2"
