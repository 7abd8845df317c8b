"""What a worker does with executions: start them, follow them, settle them. No thread waits for a script.

starting.py      a queued execution is started
followed_log.py  the log of a running execution, read as it is written
following.py     a running execution is followed to its end, and settled
outcomes.py      what the end of a script means
conductor.py     all executions that this process follows, on its event loop
"""
