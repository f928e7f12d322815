"""Names of the nodes in an exported graph, and the module of the network that each node belongs to."""

_WRAPPER = "network"
"""mmp-export's attribute name for the network; names in a checkpoint do not have it."""


def module_name(node_name: str) -> str:
    """Module of a node, as a checkpoint names it: `/network/features.7/conv/conv.1/conv.1.0/Conv` ->
    `features.7.conv.1.0`; the bare node name for a node outside all modules."""
    *scopes, node = node_name.strip("/").split("/")
    if scopes[:1] == [_WRAPPER]:
        scopes = scopes[1:]
    modules: list[str] = []
    for scope in scopes:
        if modules and scope.startswith(modules[-1] + "."):
            modules.pop()
        modules.append(scope)
    return ".".join(modules) or node
