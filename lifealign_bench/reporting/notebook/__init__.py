"""What ``import lifealign_bench as lb`` offers: the work of the command line as functions, results as pandas frames."""

import warnings

# In a notebook without ipywidgets tqdm says so when a library imports it; no bar of ours needs them.
warnings.filterwarnings("ignore", message="IProgress not found")
