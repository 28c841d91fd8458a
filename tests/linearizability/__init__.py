"""Judging histories: what clients saw, against what one copy of the data could have shown them."""
