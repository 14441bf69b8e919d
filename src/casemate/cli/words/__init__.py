"""Words for people and shells made from the table: help, manual pages, reference, completion."""
