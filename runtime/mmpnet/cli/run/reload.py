"""Reload: finish the run, and start the same command again in this process."""

import logging
import os
import sys
import threading
from collections.abc import Callable

from mmpnet.contract.errors import MmpnetError
from mmpnet.system.service_manager import notify

_LOG = logging.getLogger(__name__)


class Reload:
    """What SIGHUP does to a service: its files are finished, its settings are read again, its outputs opened again.

    check: raises MmpnetError if the settings cannot be used; the run then goes on with the old ones.
    """

    def __init__(self, check: Callable[[], object] = lambda: None) -> None:
        self._check = check
        self.requested = threading.Event()

    def __call__(self) -> bool:
        """Whether the run is to end for a reload."""
        try:
            self._check()
        except MmpnetError as error:
            _LOG.error("not reloaded: %s", error)
            return False
        _LOG.info("reloading")
        notify("RELOADING=1")
        self.requested.set()
        return True

    def start_again(self) -> None:
        """Replace this process by a new one with the same command line and number; returns only if none was requested.

        Nothing of the old run remains, so a reload cannot leak, and a service manager sees one process.
        """
        if not self.requested.is_set():
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        # A camera whose driver hangs may still be open, which the new process would find busy.
        os.closerange(3, 4096)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
