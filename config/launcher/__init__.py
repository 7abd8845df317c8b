"""`make run`: everything for one machine, under one supervisor."""
