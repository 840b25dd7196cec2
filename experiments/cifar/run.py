"""Train, shrink and measure the recipes of this folder; write results.json and the figures.

python experiments/cifar/run.py [--recipe NAME] [--seeds 0 1 2] [--validate COUNT]
"""

from pathlib import Path

from laconic.lab.table import main

if __name__ == "__main__":
    main(Path(__file__).parent)
