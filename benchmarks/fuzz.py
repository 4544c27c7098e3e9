"""Damage every file format at random, for as long as asked: no crash, hang, gigabytes, or bare Python error.

    python benchmarks/fuzz.py --seconds 3600 [--seed 0] [--format "saved classifier"] [--processes 2]

Each sample of `tests/formats.py` is damaged (bits, cuts, swapped blocks, pieces of other formats, words that
parsers know) and opened by its reader in a process of its own, which may take 10 seconds a file, and 2 GiB
more than it has at the start. What goes wrong is printed with the seed that makes it again, and the damaged
file is kept. Exit code 1 if anything did.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(TESTS))

HANG_SECONDS = 10
MEMORY = 2 << 30
#: A process opens so many files before the next one takes its place.
ROUND = 400
WORDS = (
    b"NaN", b"null", b"-1", b"1e999", b"{}", b"[]", b"[[[[", b'""', b"\\ud800", b"\x00",
    b"\xff\xfe", b"true", b"\xef\xbb\xbf", b"9" * 20, b"\r\n", b"\t", b",", b";", b"../",
    b"\x1b[2J", b"{{", b"}}", b"{%", b"&a", b"*a", b"!!python/object:os.system", b"PAR1",
    b"\x93NUMPY", b"PK\x03\x04", b"\x80\x04", b"F64", b'"shape":[', b"ustar",
)  # fmt: skip


def damaged(content: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """One to four faults in a file."""
    data = bytearray(content)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        place = dice.randrange(len(data) + 1)
        length = dice.choice((1, 2, 4, 8, 64, 1024))
        kind = dice.randrange(9)
        if kind == 0 and data:
            data[place % len(data)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[place : place + length] = dice.randbytes(length)
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            del data[place : place + length]
        elif kind == 4:
            data[place:place] = dice.choice(WORDS)
        elif kind == 5:
            word = dice.choice(WORDS)
            data[place : place + len(word)] = word
        elif kind == 6:
            data[place:place] = data[place : place + length] * dice.choice((1, 2, 50))
        elif kind == 7:
            other = dice.choice(others)
            start = dice.randrange(len(other) + 1)
            data[place : place + length] = other[start : start + length]
        else:
            data = bytearray(_structured(bytes(data), dice))
    return bytes(data)


def _structured(content: bytes, dice: random.Random) -> bytes:
    """JSON with one fault of `damage.damage_json`; other content as it is."""
    from damage import damage_json

    try:
        faults = [text for _, text in damage_json(json.loads(content))]
    except (ValueError, RecursionError):
        return content
    return dice.choice(faults).encode("utf-8", "surrogatepass") if faults else content


def work(samples: str, name: str, seeds: list[int], wire: Connection) -> None:
    """Open damaged files one after another; says before each which, and after each how it went."""
    from formats import FORMATS, encoder

    from vlcls.errors import VlclsError

    warnings.simplefilter("ignore")
    sys.stdin.close()
    encoder()
    folder = Path(tempfile.mkdtemp(prefix="vlcls-fuzz-"))
    shutil.copytree(samples, folder / "it", symlinks=True)
    paths = sorted((folder / "it").glob(FORMATS[name].file))
    whole = {path: path.read_bytes() for path in paths}
    others = [
        each for path in sorted((folder / "it").iterdir()) if path.is_file() and (each := path.read_bytes())
    ]
    FORMATS[name].read(folder / "it")  # what it imports and loads is no memory of the file
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    wire.send(("ready", str(folder)))
    for seed in seeds:
        dice = random.Random(f"{name}/{seed}")
        path = dice.choice(paths)
        content = damaged(whole[path], others, dice)
        path.write_bytes(content)
        wire.send(("begin", seed))
        try:
            FORMATS[name].read(folder / "it")
            result = "accepted"
        except VlclsError as error:
            result = "refused" if len(str(error)) < 3000 else f"a message of {len(str(error))} characters"
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in where if "vlcls" in Path(frame.filename).parts]
            at = f"{Path((own or where)[-1].filename).name}:{(own or where)[-1].lineno}"
            result = f"{type(error).__name__} at {at}: {str(error)[:160]}"
        wire.send(("end", result))
        for each, content in whole.items():
            if not each.is_file() or each.read_bytes() != content:
                each.write_bytes(content)
    wire.send(("done", ""))


def one_process(samples: str, name: str, seeds: list[int], kept: Path) -> Counter[str]:
    """Run `work` in a process and watch it; a seed that kills or hangs it is counted, the rest goes on."""
    tally: Counter[str] = Counter()
    while seeds:
        here, there = mp.get_context("spawn").Pipe(duplex=False)
        process = mp.get_context("spawn").Process(target=work, args=(samples, name, seeds, there))
        process.start()
        there.close()
        seed, folder, limit = None, None, 300.0
        while True:
            try:
                said = here.recv() if here.poll(limit) else ("hang", "")
            except EOFError:
                process.join()
                said = ("died", f"exit code {process.exitcode}")
            if said[0] == "ready":
                folder, limit = Path(said[1]), HANG_SECONDS
            elif said[0] == "begin":
                seed, seeds = said[1], seeds[1:]
            elif said[0] == "end":
                fault = said[1] not in ("accepted", "refused")
                tally[f"{name}: {said[1]}" if fault else said[1]] += 1
                if fault:
                    print(f"{name}, seed {seed}: {said[1]}", flush=True)
                    _keep(samples, name, seed, kept)
            else:
                if said[0] != "done":
                    what = f"took over {HANG_SECONDS} s" if said[0] == "hang" else f"killed: {said[1]}"
                    tally[f"{name}: {what}"] += 1
                    print(f"{name}, seed {seed}: {what}", flush=True)
                    if seed is None:
                        return tally  # not even the whole sample opens
                    _keep(samples, name, seed, kept)
                break
        process.kill()
        process.join()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    return tally


def _keep(samples: str, name: str, seed: int, kept: Path) -> None:
    """Write the damaged file of a seed for whoever looks into it."""
    from formats import FORMATS

    dice = random.Random(f"{name}/{seed}")
    path = dice.choice(sorted(Path(samples).glob(FORMATS[name].file)))
    others = [
        each for other in sorted(Path(samples).iterdir()) if other.is_file() and (each := other.read_bytes())
    ]
    kept.mkdir(parents=True, exist_ok=True)
    target = kept / f"{name.replace(' ', '-').replace(',', '')}-{seed}{path.suffix}"
    target.write_bytes(damaged(path.read_bytes(), others, dice))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--format", action="append", help="only these; see tests/formats.py")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "vlcls-fuzz-kept")
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    home = Path(tempfile.mkdtemp(prefix="vlcls-fuzz-samples-"))
    os.environ["VLCLS_CACHE"] = str(home / "cache")
    from models import save_open_clip

    os.environ["VLCLS_ENCODER"] = f"open_clip:local-dir:{save_open_clip(home / 'model')}"
    from formats import FORMATS, make_samples

    make_samples(home / "samples")
    names = given.format or list(FORMATS)
    start, seed = time.monotonic(), given.seed
    tally: Counter[str] = Counter()
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(given.processes) as pool:
        while time.monotonic() - start < given.seconds:

            def run(name: str, first: int = seed) -> Counter[str]:
                if time.monotonic() - start > given.seconds:
                    return Counter()
                return one_process(str(home / "samples"), name, list(range(first, first + ROUND)), given.keep)

            for found in pool.map(run, names):
                tally += found
            seed += ROUND
    shutil.rmtree(home, ignore_errors=True)
    return report(tally, time.monotonic() - start)


def report(tally: Counter[str], seconds: float) -> int:
    """Print what came of it; 1 if anything was wrong."""
    refused, accepted = tally.pop("refused", 0), tally.pop("accepted", 0)
    files = refused + accepted + sum(tally.values())
    print(f"{files:,} damaged files in {seconds:,.0f} s: {refused:,} refused with an error of vlcls,")
    print(f"{accepted:,} opened all the same (the fault was in a value, or made no difference)")
    for fault, count in tally.most_common():
        print(f"  {count:6,}  {fault}")
    print(
        "nothing crashed, hung, took 2 GiB or raised an error of Python's"
        if not tally
        else f"{len(tally)} faults"
    )
    return int(bool(tally))


if __name__ == "__main__":
    sys.exit(main())
