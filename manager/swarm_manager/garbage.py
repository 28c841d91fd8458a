"""How the interpreter looks for garbage in a process that holds a large state.

What a manager holds is mostly the replicated state: hundreds of thousands of objects that stay, without a cycle among
them.  With the interpreter's own settings a plan that makes a few thousand new ones has them looked through again and
again, up to two fifths of its time, and a full search, which stops all threads, comes every few seconds under load.
"""

import contextlib
import gc
from collections.abc import Iterator

# So many new ones before the youngest are looked through, which takes some 3 ms, in which no other thread runs; and
# so often before the older ones are.  What is garbage without a cycle goes at once anyway.
_NEW_OBJECTS = 10_000
_GENERATIONS = (50, 10)


def settle() -> None:
    """Leave what there is now out of every later search, and search less often. To be called when a state is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *_GENERATIONS)


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Keep the search away from what is made inside, now and later: a state is no garbage in cycles.

    To look through a state of 50 MB takes it a quarter of a second, in which no other thread runs.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
