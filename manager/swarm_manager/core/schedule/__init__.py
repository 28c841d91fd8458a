"""Chooses nodes: filters say which may take a task, a strategy says which of them is best.

Tasks made from the same spec are placed together: nodes are filtered once a group, and a heap gives the best node for
each task in turn.
"""
