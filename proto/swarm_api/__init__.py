"""What crosses Raftswarm's process boundaries: the protocol (*.proto and its stubs) and pure helpers about it."""
