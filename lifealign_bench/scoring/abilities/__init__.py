"""Tests of general ability beside the preference tasks: the alignment tax."""
