"""`python -m connect.sandbox`: the sandbox as a process of its own."""

from __future__ import annotations

import argparse

from connect.sandbox.app import SandboxOptions, run_sandbox


def main() -> None:
    """Read the options of `connect sandbox` and stay until stopped."""
    parser = argparse.ArgumentParser(prog="connect sandbox", description="Sage Intacct and Rillion Prime on loopback")
    defaults = SandboxOptions()
    parser.add_argument("--sage-port", type=int, default=defaults.sage_port, help="0: any free port")
    parser.add_argument("--prime-port", type=int, default=defaults.prime_port, help="0: any free port")
    books = parser.add_mutually_exclusive_group()
    books.add_argument("--size", choices=("small", "medium", "large"), default="small")
    books.add_argument("--empty", action="store_true", help="no records at all")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="the same seed, the same company")
    parser.add_argument("--sage-latency-ms", type=float, default=0.0)
    parser.add_argument("--prime-latency-ms", type=float, default=0.0)
    parser.add_argument("--sage-slots", type=int, default=defaults.sage_slots, help="requests Sage allows at once")
    parser.add_argument("--token-ttl-s", type=float, default=defaults.token_ttl_s)
    given = parser.parse_args()
    run_sandbox(
        SandboxOptions(
            sage_port=given.sage_port,
            prime_port=given.prime_port,
            size=None if given.empty else given.size,
            seed=given.seed,
            sage_latency_ms=given.sage_latency_ms,
            prime_latency_ms=given.prime_latency_ms,
            sage_slots=given.sage_slots,
            token_ttl_s=given.token_ttl_s,
        )
    )


if __name__ == "__main__":
    main()
