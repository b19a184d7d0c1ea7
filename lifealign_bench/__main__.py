"""``python -m lifealign_bench``, and ``accelerate launch -m lifealign_bench``."""

from lifealign_bench.cli import main

if __name__ == "__main__":
    main()
