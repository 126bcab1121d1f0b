"""The shim's cost for calls that it does not forward: a program of its own."""
import subprocess


def run(options):
    subprocess.run([options.build / "bench/bench-shim-hook"], check=True)
