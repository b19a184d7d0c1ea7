"""What ``import lifealign_bench as lb`` offers: the work of the command line as functions, results as pandas frames."""
