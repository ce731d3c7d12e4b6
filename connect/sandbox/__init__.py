"""Sage Intacct and Rillion Prime on loopback: for demos, training and tests, ours and other people's.

Imports nothing of ours but the error tree, so that it cannot agree with the product by accident.
"""
