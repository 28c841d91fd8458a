"""Real hosts on one machine, for tests, benchmarks and the demo.

    layout.py   names, addresses and folders       switch.py   the network that joins the hosts
    host.py     one host: power, processes         engine.py   its Docker engine
    cgroup.py   what its processes are held by     faults.py   network and disk faults
    cluster.py  the testbed as a whole             images/     images made from Debian's packages
    cli.py      scripts/testbed

Standard library only, so that it runs before anything is installed.
"""
