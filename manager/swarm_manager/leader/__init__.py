"""The control loops that run only while this manager leads."""
