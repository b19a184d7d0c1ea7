"""Many runs: what was asked for, plans, sweeps, tuning, reproduction."""
