"""What a worker does with executions: start them, follow them, settle them. No thread waits for a script.

starting.py              a queued execution is started
preparation.py           checkout, setup, and the close of the sandbox's network
followed_log.py          the log of a running execution, read as it is written
following.py             a running execution is followed to its end, and settled
runner_watch.py          whether its runner has died
outcomes.py              what the end of a script means
kept_files.py            the files that are kept of it
evidence_files.py        the files that a verification checks
stored_content.py        copies of files, as a start reads them
conductor.py             all executions that this process follows, on its event loop
snapshot_preparation.py  snapshots of `prepare`
"""
