import warnings

import pytest

from keras_mscam.errors import UserError, command


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("a.png is empty."), 2, "error: a.png is empty.\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(capsys, error, status, message):
    @command
    def main():
        raise error

    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == status
    assert capsys.readouterr().err == message


def test_a_defect_keeps_its_traceback():
    @command
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_a_warning_is_one_line(capsys):
    @command
    def main():
        warnings.warn("Hernia is undefined.", UserWarning, stacklevel=1)

    shown = warnings.showwarning
    main()
    assert capsys.readouterr().err == "warning: Hernia is undefined.\n"
    assert warnings.showwarning is shown
