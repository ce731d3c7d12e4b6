"""Rillion Prime: what a Prime must offer for registers (`port`), its two clients (`soap`, `rest`), and over them the documents' side:
`documents` (invoices, files, receipts, settings), `pay` (settled payments) and `owner` (which Connect has the document jobs).
"""
