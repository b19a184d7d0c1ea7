"""Kinds of judges, a file each, called as it is: ``--judge check``, ``--judge server:MODEL``. None imports torch."""
