"""Ledger and curves to one offline page."""
