"""Which tasks there should be: creates, replaces and removes them, service by service.

Theory of operation
    A service has *slots*: numbered ones (replicated) or one a node (global).  A slot holds the tasks made for it:
    at most one that is wanted, or two while a replacement starts before the old task stops, and its history.  A
    task is never restarted; it is *replaced*: a new task in the same slot that names the old one.

    A replacement comes in one of two orders.  Stop first: the old task's desired state becomes SHUTDOWN at once, the
    new one's is READY (it is placed and prepared) until the old one is over.  Start first: the new one's is RUNNING
    at once; when it is observed running, the old one's becomes SHUTDOWN.  Either way the next step follows from
    the tasks' states alone, so that a new leader goes on where the old one stopped.

    Every pass is level-triggered: it compares what is wanted with what is there, and does nothing when they agree.
"""
