"""The command that starts another Python: a file in the current folder must not shadow its imports."""

import sys

PYTHON_COMMAND = (sys.executable, "-P" if sys.version_info >= (3, 11) else "-I")
"""Without the current folder in the search path of modules. Python 3.10 knows this only as part of -I, which leaves out
the environment variables of Python and the packages of the user, too."""
