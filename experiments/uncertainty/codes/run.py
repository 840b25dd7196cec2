"""Code the labels of MNIST's training set given its images, three ways; write results.json.

python experiments/uncertainty/codes/run.py [--labels 10000] [--code prequential]
"""

from pathlib import Path

from laconic.lab.labels import main

if __name__ == "__main__":
    main(Path(__file__).parent)
