"""Ask the web page of a run on this machine whether it is healthy: exit code 0 if it is, else 1 and the reasons.

It is the health check of the container image. The address is that of `--serve`, in MMPNET_SERVE, and the token is in
MMPNET_TOKEN.
"""

import os
import sys
import urllib.error
import urllib.request

from mmpnet.contract.errors import OutputError
from mmpnet.runtime.web.listen import Address, parse_address

TIMEOUT_S = 4.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """Returns the exit code."""
    try:
        address = parse_address(os.environ.get("MMPNET_SERVE", "127.0.0.1:8000"))
    except OutputError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    local = Address(_EVERY_ADDRESS.get(address.host, address.host), address.port)
    request = urllib.request.Request(f"{local.url}healthz")
    token = os.environ.get("MMPNET_TOKEN")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    # A proxy of the environment must not see the token, and does not know this machine's loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            sys.stdout.write(answer.read(4096).decode(errors="replace") + "\n")
            return 0
    except urllib.error.HTTPError as refusal:
        sys.stderr.write(refusal.read(4096).decode(errors="replace") + "\n")
    except OSError as error:
        sys.stderr.write(f"{local.url}: no answer ({error})\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
