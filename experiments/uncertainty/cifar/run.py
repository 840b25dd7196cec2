"""Train the recipes of this folder on CIFAR-10, and compare their entropies on other pictures.

python experiments/uncertainty/cifar/run.py [--recipe fnp-plus] [--seeds 0]
"""

from pathlib import Path

from laconic.lab.detection import main

if __name__ == "__main__":
    main(Path(__file__).parent)
