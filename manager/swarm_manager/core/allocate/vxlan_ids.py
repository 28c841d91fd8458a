"""VXLAN network identifiers: 24 bits, one a network."""

from swarm_manager.core.snapshot import View

FIRST_VNI = 4097  # Docker Swarm's overlays begin at 4096 too; below are other people's
LAST_VNI = 2**24 - 1


def free_vni(view: View) -> int | None:
    """The id after the highest in use, so that one that has just become free rests; None when all are taken."""
    used = {network.vni for network in view.networks.values()}
    following = max((*used, FIRST_VNI - 1)) + 1
    if following <= LAST_VNI:
        return following
    return next((vni for vni in range(FIRST_VNI, LAST_VNI + 1) if vni not in used), None)
