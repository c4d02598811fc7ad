"""What a user can get wrong, and how a command says so."""

import functools
import sys
import warnings
from collections.abc import Callable


class UserError(Exception):
    """A mistake that its user can mend: one sentence saying what, where, what to do."""


def command(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate the `main` of a command: a mistake ends in one line, not a traceback.

    A `UserError` is printed to standard error and the process exits with status 2;
    Ctrl-C exits with status 130, as shells expect. Every other exception is a defect
    of this package and keeps its traceback. A warning is one line too, without the
    source that it came from.

    Args:
        main: function of a console script.

    Returns:
        The same function, exiting the process where `main` raises.
    """

    @functools.wraps(main)
    def run(*args, **kwargs) -> None:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                main(*args, **kwargs)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            sys.exit(130)

    return run


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {message}", file=sys.stderr)
