"""Check for packages that only some features need, so that a missing one is reported before the work starts."""

import importlib.util

from mmpnet.contract.errors import MissingExtraError

REPORT_PACKAGES = ("matplotlib", "jinja2")


def require_packages(*names: str, wanted_for: str) -> None:
    """Raises: MissingExtraError naming the first of these packages of the [eval] extra that is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(f"{wanted_for} needs {name}: pip install 'mmpnet[eval]'")


def require_report_packages() -> None:
    """Raises: MissingExtraError if a package that report.html needs is not installed."""
    require_packages(*REPORT_PACKAGES, wanted_for="a report")
