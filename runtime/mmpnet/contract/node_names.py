"""Names of the nodes in an exported graph: which module of the network each one came from."""

_WRAPPER = "network"
"""mmp-export's name for the network, which a checkpoint's names do not have."""


def module_name(node_name: str) -> str:
    """`/network/features.7/conv/conv.1/conv.1.0/Conv` -> `features.7.conv.1.0`, as a checkpoint's names begin; the
    bare name of a node that is in no module."""
    *scopes, node = node_name.strip("/").split("/")
    if scopes[:1] == [_WRAPPER]:
        scopes = scopes[1:]
    modules: list[str] = []
    for scope in scopes:
        if modules and scope.startswith(modules[-1] + "."):
            modules.pop()
        modules.append(scope)
    return ".".join(modules) or node
