"""What somebody else's package may hold: `tests/test_house.py` installs a copy of it beside mignon."""
