"""``lifealign-bench reproduce``: the run of a record done again, and whether its numbers came out."""
