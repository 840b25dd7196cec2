"""Train the recipes of this folder on MNIST, and compare their entropies on six sets of pictures.

python experiments/uncertainty/functions/run.py [--recipe fnp-plus] [--seeds 0 1 2 3 4]
"""

from pathlib import Path

from laconic.lab.detection import main

if __name__ == "__main__":
    main(Path(__file__).parent)
