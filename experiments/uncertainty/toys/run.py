"""Draw both toy regressions under the FNP, FNP+, NP and their baselines; write results.json.

python experiments/uncertainty/toys/run.py
"""

from pathlib import Path

from laconic.lab.toys import main

if __name__ == "__main__":
    main(Path(__file__).parent)
