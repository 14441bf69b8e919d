"""systemd as the maker of control groups: a small client of its D-Bus interface."""
