"""Real managers under faults chosen by a seed, and clients whose history is judged afterwards.

platter.py        what a disk keeps when the power is lost
disk_process.py   such a disk, mounted (FUSE)
disk.py           the handle of one: slow, full, broken, forgetful, on order
managers.py       the managers of one cluster, each on a host of the testbed
clients.py        clients on a host of their own, recording every request
schedule.py       the faults of a seed, printed and replayable
faults.py         what each kind of fault does, and how it is healed
judge.py          from what was recorded to a verdict
run.py            one run, from boot to verdict
"""
