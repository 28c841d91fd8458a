"""Measurements of Raftswarm beside its peer, Docker Swarm, or beside a floor, in the same run on the same hosts.

    scripts/bench               all of them          scripts/bench failover create      some

    failover.py    the leading manager is killed: until the next create is accepted
    node_loss.py   a node is lost: until its tasks run elsewhere; a node is frozen for 2 s: nothing is lost
    create.py      a service is created: until 1, until 20 containers run
    form.py        init and four joins: until all nodes are ready
    footprint.py   memory and CPU at rest
    cli.py         wall time of the command line

    figures.py     what was measured, its aim, and how it is printed
    side.py        what the two orchestrators have in common for a benchmark
    raftswarm.py docker_swarm.py      the two sides
    arena.py       five hosts of the testbed with both sides on them
    containers.py  the ground truth: containers, as the engines themselves tell

Absolute times depend on the machine; compare the ratios, and medians only.
"""
