"""The parts of the relay in mixed.py."""
