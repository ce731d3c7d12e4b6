"""Sage Intacct, from our side: its words (vendor, bill) stay in here."""
