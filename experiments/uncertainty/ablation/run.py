"""Vary the reference set's size and the dimensions of u and z on MNIST; write results.json.

python experiments/uncertainty/ablation/run.py [--recipe fnp-50] [--seeds 0 1 2 3 4]
"""

from pathlib import Path

from laconic.lab.detection import main

if __name__ == "__main__":
    main(Path(__file__).parent)
