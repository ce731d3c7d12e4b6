"""Rillion Prime as the sandbox plays it."""

from connect.sandbox.prime.simulator import PrimeSimulator

__all__ = ["PrimeSimulator"]
