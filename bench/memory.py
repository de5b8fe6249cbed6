"""Memory of the programs while nothing much happens, and what each import adds.

python -m bench.memory roles      resident and own memory of an idle sonde up, and of a sonde node that sends to it
python -m bench.memory imports    what each library adds to a node and to sonde up, in the order in which they come
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bench.up import SONDE, create_token, sonde

REST = 15.0  # seconds until what start-up left behind has come to rest
LIBRARIES = "msgspec numpy pyarrow apsw psutil ssl urllib3 structlog prometheus_client pydantic typer cryptography.x509"
IMPORTS = {
    "node": [*LIBRARIES.split(), "sonde.cli.node"],
    "up": ["sonde.cli.node", "duckdb", "uvloop", "fastapi", "uvicorn", "sonde.cli.up"],
}
_ADDS = """
import importlib, sys
def resident(): return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
before = resident()
print(f"{'interpreter':50s} {before:6.1f} MB")
for name in sys.argv[1:]:
    importlib.import_module(name)
    after = resident()
    print(f"{name:50s} {after - before:+6.1f} MB, together {after:.1f}")
    before = after
"""


def say(name: str, process: psutil.Process) -> None:
    memory = process.memory_full_info()
    print(
        f"{name:30s} resident {memory.rss / 1e6:6.1f} MB, of which its own {memory.uss / 1e6:6.1f}; "
        f"{process.num_threads()} threads"
    )


def roles() -> None:
    with tempfile.TemporaryDirectory() as name, sonde(Path(name)) as server:
        token = create_token(server.directory, "edge", "--scope", "ingest", "--node", "edge")
        sets = [f"node.sink=http://127.0.0.1:{server.port}", f"node.token={token}"]
        node = [*SONDE, "node", "--data", str(Path(name) / "node"), "--plain"]
        for text in sets:
            node += ["--set", text]
        child = subprocess.Popen(node, stdout=subprocess.DEVNULL)
        try:
            time.sleep(REST)
            say("sonde up", server.process)
            say("sonde node", psutil.Process(child.pid))
        finally:
            child.terminate()
            child.wait(20)


def imports() -> None:
    for role, modules in IMPORTS.items():
        print(f"sonde {role}")
        subprocess.run([sys.executable, "-c", _ADDS, *modules], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["roles", "imports"])
    {"roles": roles, "imports": imports}[parser.parse_args().what]()


if __name__ == "__main__":
    main()
