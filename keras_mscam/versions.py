"""Which versions of packages are installed."""

from collections.abc import Iterable
from importlib import metadata


def find_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return versions by the name of the package, without those not installed.

    This package itself isn't, in a source checkout, and OpenCV may be under another
    name.

    Example:
        >>> find_versions(["numpy", "no such package"])
        {'numpy': '2.3.5'}
    """
    versions = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
