"""From which signal-to-noise ratio the digital link works, for every code rate and constellation.

    python experiments/channels/ldpc/run.py [--blocks 4]

The threshold of a modulation is the lowest ratio on a grid of 0.5 dB at which all of so many blocks
of 2,048 information bits arrive over AWGN; longer blocks arrive a little below it. Writes
`thresholds.json` of the package after every modulation, which it does not measure again, and
results.json beside this file, with the speed of the chain.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch

from laconic.channels.gaussian import ComplexAwgn, NoiseConfig
from laconic.evaluation.channels import digital, link
from laconic.evaluation.report.provenance import describe_run

HERE = Path(__file__).resolve().parent
TABLE = Path(digital.__file__).with_name(digital.THRESHOLDS)
STEP_DB = 0.5
HIGHEST_DB = 30.0
INFORMATION_BITS = 2048


def made(snr_db: float) -> ComplexAwgn:
    return ComplexAwgn(NoiseConfig(snr_db))


def uses_of(modulation: link.Modulation, information_bits: int) -> int:
    """Complex uses of a block of so many information bits."""
    above, below = modulation.rate
    return information_bits * below // above // modulation.bits_per_symbol


def threshold_db(modulation: link.Modulation, blocks: int) -> float:
    """The lowest ratio on the grid at which all blocks arrive, upwards from the capacity's."""
    limit_db = 10 * math.log10(2**modulation.bits_per_use - 1)
    snr_db = math.ceil((limit_db + 0.3) / STEP_DB) * STEP_DB
    sender = link.Link(modulation, uses_of(modulation, INFORMATION_BITS), made(HIGHEST_DB))
    torch.manual_seed(0)
    message = bytes(sender.payload_bytes)
    while not all(sender.send(message, made(snr_db)).is_whole for _ in range(blocks)):
        snr_db += STEP_DB
    return snr_db


def speed(snr_db: float) -> dict[str, float]:
    """Kilobits a second of processor time through encoder, channel and decoder."""
    modulation = digital.best_modulation(snr_db)
    sender = link.Link(
        modulation, 8 * uses_of(modulation, link.MOST_INFORMATION_BITS), made(snr_db)
    )
    sender.send(b"", made(snr_db))  # What is built once.
    start = time.process_time()
    arrived = sender.send(bytes(sender.payload_bytes), made(snr_db))
    seconds = time.process_time() - start
    return {
        "snr_db": snr_db,
        "modulation": modulation.name,
        "kilobits_per_second": round(8 * sender.payload_bytes / seconds / 1000, 1),
        "blocks_lost": arrived.good.count(False),
    }


def main() -> None:
    """Measure what is missing, then the speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    started = time.time()
    table = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    if table.get("blocks") != options.blocks:
        table = {"blocks": options.blocks, "step_db": STEP_DB, "snr_db": {}}
    for modulation in link.MODULATIONS:
        if modulation.name not in table["snr_db"]:
            table["snr_db"][modulation.name] = threshold_db(modulation, options.blocks)
            TABLE.write_text(json.dumps(table, indent=1) + "\n")
            print(modulation.name, table["snr_db"][modulation.name], flush=True)
    speeds = [speed(snr_db) for snr_db in (5.0, 10.0, 15.0)]
    best = max(row["kilobits_per_second"] for row in speeds)
    rows = [
        {
            "modulation": one.name,
            "bits_per_use": round(one.bits_per_use, 3),
            "threshold_db": table["snr_db"][one.name],
            "capacity_db": round(10 * math.log10(2**one.bits_per_use - 1), 2),
        }
        for one in link.MODULATIONS
    ]
    target = {"name": "LDPC chain, kbit/s of one core", "target": ">= 100", "ours": best,
              "met": best >= 100}  # fmt: skip
    command = "python experiments/channels/ldpc/run.py"
    results = {
        "title": "Channels: 5G LDPC codes and QAM",
        "run": describe_run(command, started, HERE.parents[2], seeds=[0], blocks=options.blocks),
        "targets": [target],
        "speed": speeds,
        "thresholds": rows,
    }
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
