"""Side-by-side measurements of casemate and its peers; run with ``./dev bench``."""
