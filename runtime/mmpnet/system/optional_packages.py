"""Check for packages that only some features need, so that one that is missing or broken is reported before the work
starts."""

import importlib.util

from mmpnet.contract.errors import MissingExtraError
from mmpnet.system.libraries import explain_import

REPORT_PACKAGES = ("matplotlib", "jinja2")
_INSTALL = "pip install 'mmpnet[eval]'"


def require_packages(*modules: str, wanted_for: str) -> None:
    """Import modules of packages of the [eval] extra.

    Raises: MissingExtraError for the first one whose package is not installed, or cannot be loaded.
    """
    for module in modules:
        package = module.partition(".")[0]
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(f"{wanted_for} needs {package}: {_INSTALL}")
        try:
            importlib.import_module(module)
        except Exception as error:  # a library that was built for other versions of others raises any error
            is_missing = isinstance(error, ModuleNotFoundError) and error.name in (package, module)
            advice = None if is_missing else explain_import(error, extra="eval")
            raise MissingExtraError(f"{wanted_for} needs {package}: {advice or _INSTALL}") from error


def require_report_packages() -> None:
    """Raises: MissingExtraError if a package that report.html needs is missing or broken."""
    require_packages(*REPORT_PACKAGES, wanted_for="a report")
