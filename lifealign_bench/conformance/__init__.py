"""The conformance suite of ``lifealign-bench check method``: what the contract asks of a method, tried on the fakes."""
