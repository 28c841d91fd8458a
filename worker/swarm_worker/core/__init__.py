"""What the worker decides: events in, effects out. No I/O, clock, randomness or logging in here."""
